// Package schema checks, for tests, JSON against the published schemas.
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
func Validate(line []byte) error { return validate(timeline, line) }

// ValidateReport reports how what --check -o json or --meta wrote departs from
// docs/report.schema.json; nil if it does not.
func ValidateReport(object []byte) error { return validate(report, object) }

var (
	timeline = load("timeline.schema.json", docs.TimelineSchema)
	report   = load("report.schema.json", docs.ReportSchema)
)

func validate(load func() (*jsonschema.Schema, error), object []byte) error {
	schema, err := load()
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(object))
	if err != nil {
		return fmt.Errorf("parse JSON: %w", err)
	}
	return schema.Validate(instance)
}

// load compiles a schema when it is first asked for.
func load(name string, content []byte) func() (*jsonschema.Schema, error) {
	return sync.OnceValues(func() (*jsonschema.Schema, error) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
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
}
