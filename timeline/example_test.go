package timeline_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// told is what a line says in words.
type told struct {
	Role     string
	ClosedBy struct{ Side string } `json:"closed_by"`
	State    string
	Complete bool

	Handshake struct{ Kind, Outcome, Errno string }
	Teardown  struct {
		Kind, Initiator *string
		Reset           struct{ By string }
	}
	ConnState    string `json:"conn_state"`
	History      string
	Completeness int
	Timeline     []struct{ Type, From, To, Dir, Step string }
}

// TestDocsExampleIsTrue: docs/json.md's timeline, which is made by hand, says what the recorded one of a refused
// connection says.
func TestDocsExampleIsTrue(t *testing.T) {
	doc, err := os.ReadFile("../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	_, doc, _ = bytes.Cut(doc, []byte("<!-- example: refused -->\n```json\n"))
	doc, _, _ = bytes.Cut(doc, []byte("```"))
	var example told
	if err := json.Unmarshal(doc, &example); err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile("testdata/refused.json")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(recorded) {
		var real told
		if err := json.Unmarshal(line, &real); err != nil {
			t.Fatal(err)
		}
		if real.Role == "client" {
			if !reflect.DeepEqual(example, real) {
				t.Errorf("the example says\n%+v\nthe recording\n%+v", example, real)
			}
			return
		}
	}
	t.Error("no client was recorded")
}
