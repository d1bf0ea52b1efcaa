package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcptrace/timeline"
)

const docPath = "../docs/json.md"

// docs/json.md's tables and examples are made from the lists of fields and from
// the stories: -update writes them.
func TestDocsAreMadeFromTheFields(t *testing.T) {
	doc, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	want := doc
	for mark, made := range map[string][]byte{
		"fields: timeline":  fieldTable(TimelineFields),
		"fields: entry":     fieldTable(EntryFields),
		"fields: finding":   fieldTable(FindingFields),
		"fields: addendum":  fieldTable(AddendumFields),
		"example: refused":  example(t, "refused", 0),
		"example: addendum": example(t, "client-get", 1),
	} {
		begin, end := []byte("<!-- "+mark+" -->\n"), []byte("<!-- end -->")
		before, rest, ok := bytes.Cut(want, begin)
		_, after, ok2 := bytes.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no place for %s", docPath, mark)
		}
		want = slices.Concat(before, begin, made, end, after)
	}
	if bytes.Equal(doc, want) {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the lists of fields: go test ./output -update", docPath)
	}
	if err := os.WriteFile(docPath, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

func fieldTable(fields []Field) []byte {
	var b bytes.Buffer
	entries := fields[0].In != 0
	if entries {
		b.WriteString("| field | type | in | meaning |\n|---|---|---|---|\n")
	} else {
		b.WriteString("| field | type | meaning |\n|---|---|---|\n")
	}
	for _, f := range fields {
		typ := f.Kind.String()
		switch {
		case f.Optional && entries:
			typ += " or absent"
		case f.Optional:
			typ += " or null"
		}
		if entries {
			var in []string
			for t := timeline.EntryState; t <= timeline.EntryOwner; t++ {
				if f.In.Has(t) {
					in = append(in, t.String())
				}
			}
			if len(in) == int(timeline.EntryOwner) {
				in = []string{"all"}
			}
			typ += " | " + strings.Join(in, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Path, typ, f.Doc)
	}
	return b.Bytes()
}

// example is a line of a story, broken at the object's members and at the entries.
func example(t *testing.T, name string, line int) []byte {
	t.Helper()
	var told *story
	for _, s := range stories() {
		if s.name == name {
			told = s
		}
	}
	written := bytes.Split(written(t, "json", storyOptions(), told), []byte("\n"))[line]
	var members map[string]json.RawMessage
	if err := json.Unmarshal(written, &members); err != nil {
		t.Fatal(err)
	}
	fields := TimelineFields
	if len(members) < 5 {
		fields = AddendumFields
	}
	b := bytes.NewBufferString("```json\n{\n")
	separator := ""
	for _, f := range fields {
		member, ok := members[f.Path]
		if !ok {
			continue
		}
		fmt.Fprintf(b, "%s  %q: ", separator, f.Path)
		separator = ",\n"
		if f.Kind != Entries {
			b.Write(spaced(member))
			continue
		}
		var entries []json.RawMessage
		if err := json.Unmarshal(member, &entries); err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			fmt.Fprintf(b, "%c\n    %s", "[,"[min(i, 1)], spaced(e))
		}
		b.WriteString("\n  ]")
	}
	b.WriteString("\n}\n```\n")
	return b.Bytes()
}

// spaced puts a space after the colons and commas that are outside of strings.
func spaced(raw []byte) []byte {
	var b []byte
	quoted := false
	for i, c := range raw {
		b = append(b, c)
		if c == '"' && raw[max(i-1, 0)] != '\\' {
			quoted = !quoted
		}
		if !quoted && (c == ':' || c == ',') {
			b = append(b, ' ')
		}
	}
	return b
}

// The recipes of docs/json.md work, and find something in the stories.
func TestDocsRecipes(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("jq is not installed")
	}
	doc, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lines := written(t, "json", storyOptions(), stories()...)
	if err := os.WriteFile(filepath.Join(dir, "timelines.jsonl"), lines, 0o644); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	recipes := strings.Split(string(doc), "```sh\n")[1:]
	for _, r := range recipes {
		r, _, _ = strings.Cut(r, "```")
		cmd := exec.Command("sh", "-c", r)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LC_ALL=C") // sort
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s\n%v: %s", r, err, out)
		}
		fmt.Fprintf(&got, "$ %s%s\n", r, out)
	}
	if len(recipes) < 4 {
		t.Errorf("%d recipes", len(recipes))
	}
	golden(t, "recipes", got.Bytes())
}
