package output

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser opens a page in a headless Chromium. What that complains of so far is to be asked for.
func browser(t *testing.T, html []byte) (_ context.Context, complaints func() []string) {
	t.Helper()
	var said []string
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("there is no Chromium: install the package chromium")
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, html, 0o644); err != nil {
		t.Fatal(err)
	}
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1400, 1000))...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)

	var mu sync.Mutex
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			said = append(said, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
		case *runtime.EventConsoleAPICalled:
			said = append(said, "console."+string(e.Type))
		case *log.EventEntryAdded:
			said = append(said, e.Entry.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+file)); err != nil {
		t.Fatal(err)
	}
	return ctx, func() []string {
		if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void]("0")); err != nil { // what came before it was heard of
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		return said
	}
}

// quiet fails the test for whatever the browser complained of.
func quiet(t *testing.T, complaints func() []string) {
	t.Helper()
	for _, c := range complaints() {
		t.Errorf("the browser says: %s", c)
	}
}

// A page that is not as it should be is heard of.
func TestBrowserComplains(t *testing.T) {
	page := report(t, crowd(3))
	for name, broken := range map[string][]byte{
		"an exception":     []byte("<script>nothing.there</script>"),
		"another script":   bytes.Replace(page, []byte("</main>"), []byte("<script>1</script></main>"), 1),
		"something loaded": bytes.Replace(page, []byte("</main>"), []byte(`<img src="http://192.0.2.1/x.png"></main>`), 1),
	} {
		_, complaints := browser(t, broken)
		if len(complaints()) == 0 {
			t.Errorf("%s is not heard of", name)
		}
	}
}

// evaluate is what an expression comes to on the page.
func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func TestReportInBrowser(t *testing.T) {
	ctx, complaints := browser(t, report(t, crowd(300)))
	defer quiet(t, complaints)
	do := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	// column is what the listed rows have in a column, by its title.
	column := func(title string) []string {
		t.Helper()
		return evaluate[[]string](t, ctx, `(() => {
			const i = [...document.querySelectorAll("#heads th")].findIndex((th) => th.textContent === "`+title+`") + 1;
			return [...document.querySelectorAll("#rows tr.row")].map((tr) => tr.children[i].textContent);
		})()`)
	}
	number := func(expression string) int { t.Helper(); return evaluate[int](t, ctx, expression) }
	sorted := func(title string) {
		t.Helper()
		do("sort by "+title, chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll("#heads button")].find((b) => b.textContent === "`+title+`").click()`))
	}
	search := func(words string) {
		t.Helper()
		do("search "+words, chromedp.SendKeys(chromedp.CSS("#search"), kb.Escape), chromedp.SendKeys(chromedp.CSS("#search"), words+" "),
			chromedp.Poll[chromedp.Void](`document.getElementById("rows").dataset.search === "`+strings.ToLower(words)+`"`))
	}

	if n := number(`document.querySelectorAll("#rows tr.row").length`); n != 200 {
		t.Errorf("%d rows are listed at first, want 200", n)
	}
	do("more", chromedp.Click(chromedp.CSS("#more")))
	if n := number(`document.querySelectorAll("#rows tr.row").length`); n != 300 {
		t.Errorf("%d rows are listed after more were asked for, want 300", n)
	}

	sorted("Received") // the greatest first
	if got := column("Received"); !strings.HasSuffix(got[0], "GB") {
		t.Errorf("sorted by bytes, the first has %q", got[0])
	}
	sorted("Received")
	if got := column("Received"); got[0] != "0 B" {
		t.Errorf("sorted the other way, the first has %q", got[0])
	}
	if n := number(`document.querySelectorAll("#heads th[aria-sort=ascending]").length`); n != 1 {
		t.Errorf("%d columns are marked as the one sorted by", n)
	}
	sorted("Process")
	if got := column("Process"); got[len(got)-1] < got[0] {
		t.Errorf("sorted by name: %q … %q", got[0], got[len(got)-1])
	}

	search("firefox tls")
	if got := column("Process"); len(got) != 0 {
		t.Errorf("a search for what is not there finds %q", got)
	}
	search("FIREFOX :443")
	for _, name := range column("Process") {
		if name != "firefox" {
			t.Errorf("a search finds %q", name)
		}
	}
	if len(column("Process")) == 0 {
		t.Error("the search found nothing")
	}

	// By keyboard: from the search to the first row, its ladder opened, closed.
	do("to the row and open", chromedp.SendKeys(chromedp.CSS("#search"), kb.ArrowDown), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS("#rows tr.ladder svg")))
	words := evaluate[string](t, ctx, `document.querySelector("#rows tr.ladder svg").textContent`)
	for _, want := range []string{"firefox (pid 4716)", "1/3", "SYN,ACK", "TIME_WAIT"} {
		if !strings.Contains(words, want) {
			t.Errorf("the ladder does not say %q: %s", want, words)
		}
	}
	if h := number(`Math.round(document.querySelector("#rows tr.ladder svg").getBoundingClientRect().height)`); h < 200 {
		t.Errorf("the ladder is %d pixels high", h)
	}
	do("close", chromedp.KeyEvent(kb.Escape), chromedp.WaitNotPresent(chromedp.CSS("#rows tr.ladder")))

	const refused = chromedp.CSS(`.found button[data-code="connect-refused"]`)
	// By the findings: those of one code, and all again.
	do("clear", chromedp.KeyEvent("/"), chromedp.SendKeys(chromedp.CSS("#search"), kb.Escape),
		chromedp.Poll[chromedp.Void](`document.getElementById("rows").dataset.search === ""`))
	do("pick a finding", chromedp.Click(refused))
	for _, outcome := range column("Opening") {
		if outcome != "refused" {
			t.Errorf("refused connections are asked for, one is %s", outcome)
		}
	}
	do("open by mouse", chromedp.Click(chromedp.CSS("#rows tr.row:first-child td:nth-child(4)")), chromedp.WaitVisible(chromedp.CSS("#rows tr.ladder svg")))
	do("all again", chromedp.Click(refused))
	do("only trouble", chromedp.Click(chromedp.CSS("#troubled")))
	if got := column("Found"); len(got) == 0 || got[0] == "" {
		t.Errorf("%d rows have trouble, the first one's is %q", len(got), got)
	}
}

// Every one of many ladders can be opened, at any width, and none is wider than the page.
func TestReportOfManyInBrowser(t *testing.T) {
	const n = 10_000
	ctx, complaints := browser(t, report(t, crowd(n)))
	defer quiet(t, complaints)
	listed := evaluate[string](t, ctx, `document.getElementById("count").textContent`)
	err := chromedp.Do(ctx,
		chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll("#heads button")].find((b) => b.textContent === "No.").click()`),
		chromedp.Click(chromedp.CSS("#rows tr.row:first-child .open")), chromedp.WaitVisible(chromedp.CSS("#rows tr.ladder svg")),
		chromedp.EmulateViewport(420, 900),
	)
	if err != nil {
		t.Fatal(err)
	}
	wide := evaluate[bool](t, ctx, `document.documentElement.scrollWidth > window.innerWidth`)
	if listed != "10000 ends" {
		t.Errorf("it says %q", listed)
	}
	if wide {
		t.Error("on a narrow screen the page is wider than that")
	}
}
