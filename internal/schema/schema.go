// Package schema checks, for tests, lines of JSON against the published schema.
package schema

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tcptrace/docs"
)

// Validate reports how a line that -o json wrote departs from
// docs/timeline.schema.json; nil if it does not.
func Validate(line []byte) error {
	schema, err := load()
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err != nil {
		return fmt.Errorf("parse JSON: %w", err)
	}
	return schema.Validate(instance)
}

var load = sync.OnceValues(func() (*jsonschema.Schema, error) {
	const name = "timeline.schema.json"
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(docs.TimelineSchema))
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", name, err)
	}
	return schema, nil
})
