// Package docs holds the parts of the documentation that programs read.
package docs

import _ "embed"

// TimelineSchema is the JSON Schema (2020-12) of what -o json writes, a timeline
// or an addendum.
//
//go:embed timeline.schema.json
var TimelineSchema []byte

// ReportSchema is the JSON Schema (2020-12) of what --check -o json and --meta write.
//
//go:embed report.schema.json
var ReportSchema []byte
