// Package layering keeps the boundaries between the packages: docs/architecture.md
// says what they are for, this test that they hold.
package layering

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers says which packages of this module each package may import, tests aside.
// A package that is not listed fails the test: its place is to be thought about.
var layers = map[string][]string{
	"gen":            {},
	"events":         {"gen"},
	"timeline":       {"events"},
	"finding":        {"events", "timeline", "internal/human"},
	"process":        {},
	"nat":            {},
	"output":         {"events", "process", "timeline", "internal/human"},
	"tracer":         {"events", "gen"},
	"live":           {"events", "timeline", "output", "internal/human"},
	"cmd/tcptrace":   {"events", "finding", "live", "nat", "output", "process", "timeline", "tracer", "internal/human", "internal/progress"},
	"docs":           {},
	"internal/human": {},
	// A bar on the terminal; it takes a clock and a goroutine, which output has not.
	"internal/progress": {},
	"internal/schema":   {"docs"},
	"internal/lab":      {},
	// These only ever measure or test; nothing imports them.
	"bench":             {"events", "gen", "output", "timeline", "internal/lab"},
	"endtoend":          {"internal/lab", "internal/schema"},
	"internal/layering": {},
}

// owners says who alone may import a package of somebody else's, or one below it.
// Here tests count too.
var owners = map[string][]string{
	"github.com/cilium/ebpf":             {"gen", "tracer"},
	"github.com/gdamore/tcell":           {"cmd/tcptrace"},
	"github.com/jedib0t/go-pretty":       {"output", "live", "internal/progress", "cmd/tcptrace"},
	"github.com/cpuguy83/go-md2man":      {"cmd/tcptrace"},
	"github.com/mdlayher":                {"nat"},
	"github.com/spf13/cobra":             {"cmd/tcptrace"},
	"github.com/spf13/pflag":             {"cmd/tcptrace"},
	"kernel.org/pub/linux/libs/security": {"tracer"},
	"github.com/santhosh-tekuri":         {"internal/schema"},
	"github.com/chromedp":                {"output"},
}

// pure are packages that neither know the time nor touch the system: what goes in
// decides what comes out. They may not import these, and of time not the functions.
var pure = map[string][]string{
	"events":   {"context", "net", "os", "sync", "syscall", "golang.org/x/sys/unix"},
	"timeline": {"context", "io", "net", "os", "sync", "syscall"},
	"finding":  {"context", "io", "net", "os", "sync", "syscall"},
	"output":   {"context", "net", "os", "sync"},
	"live":     {"context", "net", "os", "sync"},
}

// clockFunctions are those of package time that read the clock or wait for it.
var clockFunctions = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

// pkg is what go list says of a package.
type pkg struct {
	Dir, ImportPath                             string
	GoFiles, Imports, TestImports, XTestImports []string
	Module                                      struct{ Path string }
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,GoFiles,Imports,TestImports,XTestImports,Module", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v\n%s", err, failed.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// name is the package's name within the module: "cmd/tcptrace".
func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, p.Module.Path+"/") }

// within reports whether path is that of tree or of a package below it.
func within(path, tree string) bool { return path == tree || strings.HasPrefix(path, tree+"/") }

func TestLayers(t *testing.T) {
	for _, p := range list(t) {
		allowed, known := layers[p.name()]
		if !known {
			t.Errorf("package %s is in no layer: give it its place in layers", p.name())
		}
		for _, path := range p.Imports {
			below, ours := strings.CutPrefix(path, p.Module.Path+"/")
			if ours && !slices.Contains(allowed, below) {
				t.Errorf("%s imports %s; it may import %q", p.name(), below, allowed)
			}
		}
	}
}

func TestOwnersOfModules(t *testing.T) {
	for _, p := range list(t) {
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for tree, allowed := range owners {
				if within(path, tree) && !slices.Contains(allowed, p.name()) {
					t.Errorf("%s imports %s; only %q may", p.name(), path, allowed)
				}
			}
		}
	}
}

func TestPurePackages(t *testing.T) {
	for _, p := range list(t) {
		forbidden, isPure := pure[p.name()]
		if !isPure {
			continue
		}
		for _, path := range p.Imports {
			if slices.Contains(forbidden, path) {
				t.Errorf("%s imports %s: it is to be a pure function of its input", p.name(), path)
			}
		}
		for _, file := range p.GoFiles {
			checkPure(t, filepath.Join(p.Dir, file), p.name()+"/"+file)
		}
	}
}

// checkPure looks for goroutines, channels and clocks in a file.
func checkPure(t *testing.T, path, name string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	complain := func(n ast.Node, what string) {
		t.Errorf("%s:%d: %s in a pure package", name, fset.Position(n.Pos()).Line, what)
	}
	clock := localName(file, "time")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			complain(n, "a goroutine")
		case *ast.ChanType:
			complain(n, "a channel")
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && clock != "" && x.Name == clock && slices.Contains(clockFunctions, n.Sel.Name) {
				complain(n, "time."+n.Sel.Name)
			}
		}
		return true
	})
}

// localName is the name by which the file knows an import, "" where it has none.
func localName(file *ast.File, path string) string {
	for _, spec := range file.Imports {
		if got, err := strconv.Unquote(spec.Path.Value); err != nil || got != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	return ""
}
