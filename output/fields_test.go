package output

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"tcptrace/docs"
	"tcptrace/events"
	"tcptrace/timeline"
)

// A node is a part of the JSON Schema.
type node struct {
	Ref        string           `json:"$ref"`
	Type       any              `json:"type"`
	Enum       []any            `json:"enum"`
	Required   []string         `json:"required"`
	Properties map[string]*node `json:"properties"`
	Items      *node            `json:"items"`
	Defs       map[string]*node `json:"$defs"`
}

func schemaRoot(t *testing.T) *node {
	t.Helper()
	root := new(node)
	if err := json.Unmarshal(docs.TimelineSchema, root); err != nil {
		t.Fatal(err)
	}
	return root
}

// resolve merges what a node refers to into it.
func (n *node) resolve(root *node) *node {
	if n.Ref == "" {
		return n
	}
	merged := *root.Defs[strings.TrimPrefix(n.Ref, "#/$defs/")].resolve(root)
	if n.Type != nil {
		merged.Type = n.Type
	}
	if n.Enum != nil {
		merged.Enum = n.Enum
	}
	return &merged
}

// types is the node's type, or types.
func (n *node) types() []string {
	switch v := n.Type.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, x := range v {
			all = append(all, x.(string))
		}
		return all
	}
	return []string{"string"} // const and enum here are of strings
}

// paths are the properties of a node and of those below, by their path.
func (n *node) paths(root *node, prefix string, into map[string]*node) {
	for name, p := range n.Properties {
		p = p.resolve(root)
		into[prefix+name] = p
		p.paths(root, prefix+name+".", into)
	}
}

var jsonTypes = map[Kind]string{Object: "object", Integer: "integer", Bool: "boolean", Word: "string",
	Words: "array", Text: "string", Entries: "array", Findings: "array"}

// The schema and the lists of fields say the same.
func TestSchemaHasTheFields(t *testing.T) {
	root := schemaRoot(t)
	lists := []struct {
		def    string
		fields []Field
		null   bool // what is optional is null
	}{
		{"timeline", TimelineFields, true},
		{"addendum", AddendumFields, true},
		{"entry", EntryFields, false},
		{"finding", FindingFields, true},
	}
	for _, list := range lists {
		in := map[string]*node{}
		root.Defs[list.def].paths(root, "", in)
		required := requiredPaths(root, root.Defs[list.def])
		for _, f := range list.fields {
			p := in[f.Path]
			if p == nil {
				t.Errorf("the schema's %s lacks %s", list.def, f.Path)
				continue
			}
			delete(in, f.Path)
			want := []string{jsonTypes[f.Kind]}
			if f.Optional && list.null {
				want = append(want, "null")
			}
			if got := p.types(); !slices.Equal(got, want) {
				t.Errorf("the schema's %s.%s is %v, the list's %v", list.def, f.Path, got, want)
			}
			if list.null && !required[f.Path] {
				t.Errorf("the schema's %s does not require %s", list.def, f.Path)
			}
		}
		for _, path := range slices.Sorted(maps.Keys(in)) {
			t.Errorf("the schema's %s has %s, the list has not", list.def, path)
		}
	}
}

func requiredPaths(root, n *node) map[string]bool {
	all := map[string]bool{}
	var walk func(n *node, prefix string)
	walk = func(n *node, prefix string) {
		for _, name := range n.Required {
			all[prefix+name] = true
		}
		for name, p := range n.Properties {
			walk(p.resolve(root), prefix+name+".")
		}
	}
	walk(n, "")
	return all
}

// The entries' required fields are those that the list has as not optional.
func TestSchemaRequiresOfEntries(t *testing.T) {
	var doc struct {
		Defs struct {
			Entry struct {
				Required []string
				AllOf    []struct {
					If struct {
						Properties struct {
							Type struct {
								Const string
								Enum  []string
							}
						}
					}
					Then struct{ Required []string }
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(docs.TimelineSchema, &doc); err != nil {
		t.Fatal(err)
	}
	for typ := timeline.EntryState; typ <= timeline.EntryOwner; typ++ {
		got := slices.Clone(doc.Defs.Entry.Required)
		for _, rule := range doc.Defs.Entry.AllOf {
			is := rule.If.Properties.Type
			if is.Const == typ.String() || slices.Contains(is.Enum, typ.String()) {
				got = append(got, rule.Then.Required...)
			}
		}
		var want []string
		for _, f := range EntryFields {
			if f.In.Has(typ) && !f.Optional {
				want = append(want, f.Path)
			}
		}
		if typ == timeline.EntryOwner {
			want = append(want, "pid") // optional only where the kernel changed a state
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the schema requires %v, the list %v", typ, got, want)
		}
	}
}

// The schema's words are those that the program has.
func TestSchemaHasTheWords(t *testing.T) {
	root := schemaRoot(t)
	in := map[string]*node{}
	root.Defs["timeline"].paths(root, "", in)
	entry := map[string]*node{}
	root.Defs["entry"].paths(root, "", entry)

	check := func(path string, n *node, words []string, besides ...string) {
		t.Helper()
		var got []string
		for _, w := range n.Enum {
			if w != nil {
				got = append(got, w.(string))
			}
		}
		want := slices.DeleteFunc(words, func(w string) bool { return w == "" || slices.Contains(besides, w) })
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("the schema's %s is one of %q, the program says %q", path, got, want)
		}
	}
	check("role", in["role"], append(words[timeline.Role](), "unknown"))
	check("handshake.kind", in["handshake.kind"], words[timeline.HandshakeKind]())
	check("handshake.outcome", in["handshake.outcome"], words[timeline.HandshakeOutcome]())
	check("teardown.kind", in["teardown.kind"], words[timeline.TeardownKind]())
	check("teardown.initiator", in["teardown.initiator"], words[timeline.Side](), "kernel")
	check("closed_by.call", in["closed_by.call"], words[events.CloseCall]())
	check("process.confidence", in["process.confidence"], words[timeline.Confidence]())
	check("closed_by.side", in["closed_by.side"], words[timeline.Side]())
	check("state", in["state"], words[events.State](), "UNKNOWN", "NEW_SYN_RECV")
	check("severity", root.Defs["finding"].Properties["severity"], words[timeline.Severity]())
	check("entry.type", entry["type"], words[timeline.EntryType]())
	check("entry.dir", entry["dir"], words[timeline.Dir]())
	check("entry.step", entry["step"], words[timeline.Step]())
	check("entry.from", entry["from"], words[events.State](), "UNKNOWN", "NEW_SYN_RECV")
	check("entry.flags", entry["flags"].Items, slices.Clone(events.FlagNames[:]))

	check("handshake.ecn", in["handshake.ecn"], words[timeline.ECN]())
	check("handshake.fast_open", in["handshake.fast_open"], words[timeline.FastOpen]())
	check("nat.source", in["nat.source"], words[timeline.TranslationSource]())
	check("entry.source", entry["source"], words[events.OwnerSource]())
	check("process.source", in["process.source"], words[events.OwnerSource]())
}

// words are all that an enumeration has, but its unknown.
func words[T interface {
	~uint8
	fmt.Stringer
}]() []string {
	var all []string
	for i := range 32 {
		w := T(i).String()
		if w == "unknown" || strings.ContainsAny(w, "0123456789 ") && !strings.HasPrefix(w, "FIN_WAIT") {
			continue
		}
		all = append(all, w)
	}
	return all
}

// Parents come before what is in them, children follow, names are unique.
func TestFieldsAreInOrder(t *testing.T) {
	for name, fields := range map[string][]Field{"timeline": TimelineFields, "entry": EntryFields, "addendum": AddendumFields, "finding": FindingFields} {
		seen := map[string]int{}
		for i, f := range fields {
			if _, again := seen[f.Path]; again {
				t.Errorf("%s: %s is there twice", name, f.Path)
			}
			seen[f.Path] = i
			if f.Doc == "" || strings.ContainsAny(f.Doc, "\n|") {
				t.Errorf("%s: %s: doc %q", name, f.Path, f.Doc)
			}
			if (f.value == nil) != (f.Kind == Object || f.Kind == Entries || f.Kind == Findings) {
				t.Errorf("%s: %s: a %v with or without a value", name, f.Path, f.Kind)
			}
			if (f.In != 0) != (name == "entry") {
				t.Errorf("%s: %s: In is %b", name, f.Path, f.In)
			}
			if dot := strings.LastIndexByte(f.Path, '.'); dot >= 0 {
				parent := f.Path[:dot]
				at, ok := seen[parent]
				if !ok || fields[at].Kind != Object || i > 0 && fields[i-1].Path != parent && !strings.HasPrefix(fields[i-1].Path, parent+".") {
					t.Errorf("%s: %s does not follow %s", name, f.Path, parent)
				}
			}
		}
	}
}
