package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// asCommand, set in the environment, makes of the test binary tcptrace itself.
const asCommand = "TCPTRACE_TEST_AS_COMMAND"

// onPath is an environment in which tcptrace is a command: this one.
func onPath(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "#!/bin/sh\n" + asCommand + "=1 exec " + self + ` "$@"` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "tcptrace"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
}

func printed(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := command(context.Background(), args, &stdout, &stderr); status != exitOK || stderr.Len() > 0 {
		t.Fatalf("%v: status %d\n%s", args, status, stderr.String())
	}
	return stdout.String()
}

// bashCompletion is where bash-completion is, on whose functions the script stands.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// TestBashCompletes asks bash itself what it makes of a line that is not finished.
func TestBashCompletes(t *testing.T) {
	if _, err := os.Stat(bashCompletion); err != nil {
		t.Skipf("needs bash-completion (%s), which is not installed", bashCompletion)
	}
	env := onPath(t)
	for _, c := range []struct{ line, want string }{
		{"tcptrace --fail-", "--fail-if"},
		{"tcptrace --min", "--min-handshake"},
		{"tcptrace -o ex", "explain"},
		{"tcptrace --output js", "json"},
		{"tcptrace -o ", "live json text"},
		{"tcptrace --attach k", "kprobe"},
		{"tcptrace --state CLOSE_WAIT,FIN_", "CLOSE_WAIT,FIN_WAIT1 CLOSE_WAIT,FIN_WAIT2"},
		{"tcptrace --completion ", "bash fish zsh"},
		{fmt.Sprintf("tcptrace -p %d", os.Getpid()), fmt.Sprint(os.Getpid())},
		{"tcptrace -P 80 --fail-if rese", "reset"},
	} {
		words := strings.Split(c.line, " ")
		script := `. "$1"; . <(tcptrace --completion bash); shift
compopt() { :; } # there is no line being edited
COMP_LINE=$1; COMP_POINT=${#1}; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; COMP_KEY=9
function=$(complete -p tcptrace | sed 's/.*-F \([^ ]*\).*/\1/')
$function tcptrace "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"`
		cmd := exec.Command("bash", append([]string{"-c", script, "bash", bashCompletion, c.line}, words...)...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", c.line, err, out)
			continue
		}
		got := string(out)
		for _, want := range strings.Fields(c.want) {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %s in %q", c.line, want, got)
			}
		}
	}
}

// TestCompletionScripts are what their shells can read.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tcptrace."+shell)
			if err := os.WriteFile(file, []byte(printed(t, "--completion", shell)), 0o644); err != nil {
				t.Fatal(err)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("needs the command %s, which is not installed", shell)
			}
			if out, err := exec.Command(path, "-n", file).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s -n: %v\n%s", shell, err, out)
			}
		})
	}
}

// TestFishCompletes: fish can be asked without a terminal.
func TestFishCompletes(t *testing.T) {
	if _, err := exec.LookPath("fish"); err != nil {
		t.Skip("needs the command fish, which is not installed")
	}
	cmd := exec.Command("fish", "--no-config", "-c", `tcptrace --completion fish | source; complete -C "tcptrace --attach k"`)
	cmd.Env = append(onPath(t), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "kprobe" {
		t.Errorf("%v: %q, want kprobe", err, out)
	}
}

// TestListsComplete: what was typed already stays before each value that may follow.
func TestListsComplete(t *testing.T) {
	for args, want := range map[string]string{
		"--fail-if failed|finding=connect-r": "failed|finding=connect-refused\t",
		"--state CLOSE,TIME":                 "CLOSE,TIME_WAIT\n",
		"--ready":                            "--ready-file\tcreate FILE when all hooks are attached\n",
	} {
		var stdout, stderr bytes.Buffer
		status := command(context.Background(), append([]string{"__complete"}, strings.Fields(args)...), &stdout, &stderr)
		if status != exitOK || !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: status %d, no %q in\n%s%s", args, status, want, stdout.String(), stderr.String())
		}
	}
}

// TestEveryFlagCompletes: no flag that takes a value offers the files of the current directory but those that
// name a file.
func TestEveryFlagCompletes(t *testing.T) {
	flagSet(&options{}, &rawFlags{}).VisitAll(func(f *pflag.Flag) {
		if _, known := completions[f.Name]; !known && f.Value.Type() != "bool" {
			t.Errorf("--%s takes a value, and completions says nothing of it", f.Name)
		}
	})
	described() // registers all of them
}

// TestManPage: every flag is in it, and what formats it has nothing to say.
func TestManPage(t *testing.T) {
	page := printed(t, "--man")
	flagSet(&options{}, &rawFlags{}).VisitAll(func(f *pflag.Flag) {
		if name := `\fB--` + f.Name + `\fP`; !strings.Contains(page, name) {
			t.Errorf("no --%s in the man page", f.Name)
		}
	})
	for _, want := range []string{`[\fB--\fP \fIcommand args...\fP]`, `\fB--container-names\fP[=\fISOCKET\fP]`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in the man page", want)
		}
	}
	file := filepath.Join(t.TempDir(), "tcptrace.8")
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	checked := false
	for _, check := range [][]string{
		{"man", "--warnings", "-l", "-Tutf8", "-Z", file},
		{"groff", "-man", "-ww", "-z", file},
		{"mandoc", "-T", "lint", "-W", "error", file},
	} {
		if _, err := exec.LookPath(check[0]); err != nil {
			continue
		}
		checked = true
		cmd := exec.Command(check[0], check[1:]...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		var stderr strings.Builder
		cmd.Stderr, cmd.Stdout = &stderr, io.Discard
		if check[0] == "mandoc" {
			cmd.Stdout = &stderr
		}
		if err := cmd.Run(); err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v\n%s", strings.Join(check, " "), err, stderr.String())
		}
	}
	if !checked {
		t.Skip("needs one of the commands man, groff and mandoc, of which none is installed")
	}
	for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS"} {
		if !slices.Contains(strings.Split(page, "\n"), ".SH "+section) {
			t.Errorf("no section %s", section)
		}
	}
}

// TestInstall puts all in place below a directory, and takes all of it away again.
func TestInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds tcptrace: takes long")
	}
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("needs the command make, which is not installed")
	}
	root := t.TempDir()
	run := func(target string) {
		t.Helper()
		cmd := exec.Command("make", "-C", "../..", target, "DESTDIR="+root, "PREFIX=/usr", "BIN="+filepath.Join(root, "build", "tcptrace"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
	}
	installed := func() (files []string) {
		err := filepath.WalkDir(filepath.Join(root, "usr"), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, strings.TrimPrefix(path, root))
				if info, err := d.Info(); err != nil || info.Size() == 0 {
					t.Errorf("%s is empty (%v)", path, err)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return files
	}
	run("install")
	want := []string{
		"/usr/bin/tcptrace",
		"/usr/share/bash-completion/completions/tcptrace",
		"/usr/share/fish/vendor_completions.d/tcptrace.fish",
		"/usr/share/man/man8/tcptrace.8",
		"/usr/share/zsh/site-functions/_tcptrace",
	}
	if got := installed(); !slices.Equal(got, want) {
		t.Errorf("installed is %q, want %q", got, want)
	}
	run("uninstall")
	if got := installed(); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}
