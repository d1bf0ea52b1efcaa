package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tcptrace/events"
	"tcptrace/finding"
	"tcptrace/output"
	"tcptrace/tracer"
)

// This file makes from the flags what else describes them: completion for shells, and the man page.

// shells are those that --completion knows.
var shells = []string{"bash", "zsh", "fish"}

const purpose = "show each TCP connection's handshake and teardown as it happens in the kernel"

// liveWords say what a terminal shows.
const liveWords = "On a terminal it shows what is open now, what failed and what is stuck; the keys are at the bottom of the screen, and ? explains them. Elsewhere, and with **-o text**, it writes lines."

// described is tcptrace's command line as cobra knows it, which makes completions of it. It runs nothing but the shells' questions.
func described() *cobra.Command {
	c := &cobra.Command{
		Use:   "tcptrace",
		Short: purpose,
		Run:   func(*cobra.Command, []string) {},
		// A first word is no file's name: all are flags.
		ValidArgsFunction: cobra.NoFileCompletions,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	c.SetHelpCommand(&cobra.Command{Hidden: true})
	c.Flags().AddFlagSet(flagSet(&options{}, &rawFlags{}))
	c.Flags().VisitAll(func(f *pflag.Flag) {
		_, f.Usage = pflag.UnquoteUsage(f) // the quotes are for --help alone
	})
	for flag, values := range completions {
		// Only fails for a flag that there is not, or twice: a test calls it.
		if err := c.RegisterFlagCompletionFunc(flag, values); err != nil {
			panic(err)
		}
	}
	return c
}

// completions say what the values of flags may be. Flags that are not here take numbers or times; of those, and of
// addresses, nothing can be offered.
var completions = map[string]cobra.CompletionFunc{
	"output": one(func() (all []cobra.Completion) {
		all = append(all, cobra.CompletionWithDesc(liveFormat, "what is open now, on a terminal"))
		for _, f := range output.Formats {
			all = append(all, cobra.CompletionWithDesc(f.Name, f.Doc))
		}
		return all
	}),
	"segments":   one(fixed("control", "all")),
	"attach":     one(fixed("auto", "fentry", "kprobe", "tracepoint")),
	"completion": one(fixed(shells...)),
	"pid":        listed(processes),
	"netns":      listed(namespaces),
	"state":      listed(states),
	"fail-if": cobra.CompletionFunc(func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return after(typed, "|", failWords()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}),
	"cgroup": files, "btf": files, "ready-file": files, "meta": files, "record": files, "replay": files, "output-file": files,
	"container-names": files,

	"port": nothing, "local-port": nothing, "remote-port": nothing, "addr": nothing, "uid": nothing, "comm": nothing, "container": nothing, "count": nothing, "duration": nothing,
	"linger": nothing, "close-wait": nothing, "min-handshake": nothing, "max-timelines": nothing,
	"ring-size": one(fixed("1M", "16M", "64M", "256M")),
}

func nothing(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func files(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func fixed(words ...string) func() []cobra.Completion {
	return func() []cobra.Completion { return words }
}

// one is a flag with one value of these.
func one(values func() []cobra.Completion) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	}
}

// listed is a flag with a list of values, with commas between.
func listed(values func() []cobra.Completion) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return after(typed, ",", values()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// after puts what was typed up to the last separator before each value.
func after(typed, separator string, values []cobra.Completion) []cobra.Completion {
	prefix := typed[:strings.LastIndex(typed, separator)+1]
	all := make([]cobra.Completion, len(values))
	for i, v := range values {
		all[i] = prefix + v
	}
	return all
}

// processes are those that are running.
func processes() (all []cobra.Completion) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil
	}
	for _, name := range names {
		if comm, err := os.ReadFile(name); err == nil {
			pid := filepath.Base(filepath.Dir(name))
			all = append(all, cobra.CompletionWithDesc(pid, output.Clean(strings.TrimSpace(string(comm)), 0)))
		}
	}
	return all
}

// namespaces are those that ip(8) named.
func namespaces() (all []cobra.Completion) {
	names, err := filepath.Glob("/run/netns/*")
	if err != nil {
		return nil
	}
	for _, name := range names {
		description := ""
		if inode, err := tracer.NetnsInode(name); err == nil {
			description = strconv.FormatUint(uint64(inode), 10)
		}
		all = append(all, cobra.CompletionWithDesc(name, description))
	}
	return all
}

func states() (all []cobra.Completion) {
	for s := events.Established; s <= events.Closing; s++ {
		if s != events.Listen {
			all = append(all, s.String())
		}
	}
	return all
}

func failWords() []cobra.Completion {
	all := []cobra.Completion{"failed", "reset", "retransmits", "handshake>"}
	for _, s := range states() {
		all = append(all, "state="+s)
	}
	for i := range finding.Kinds {
		all = append(all, cobra.CompletionWithDesc("finding="+finding.Kinds[i].Code, finding.Kinds[i].Means))
	}
	return all
}

// writeCompletion writes the script with which a shell completes tcptrace's flags.
func writeCompletion(w io.Writer, shell string) error {
	c := described()
	switch shell {
	case "bash":
		return c.GenBashCompletionV2(w, true)
	case "zsh":
		return c.GenZshCompletion(w)
	case "fish":
		return c.GenFishCompletion(w, true)
	}
	return fmt.Errorf("no completion for %s", shell)
}

// asksForCompletion tells whether it is a completion script that calls.
func asksForCompletion(args []string) bool {
	return len(args) > 0 && slices.Contains([]string{cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, args[0])
}

// answerCompletion answers it.
func answerCompletion(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := described()
	c.SetArgs(args)
	c.SetOut(stdout)
	c.SetErr(stderr)
	return c.ExecuteContext(ctx)
}

// writeMan writes the man page, as roff.
func writeMan(w io.Writer) error {
	_, err := w.Write(md2man.Render([]byte(manual())))
	return err
}

// manual is the man page in Markdown.
func manual() string {
	_, synopsis, _ := strings.Cut(usage, "\n\n")
	shown, status, _ := strings.Cut(strings.TrimPrefix(examples, "\nExamples:\n"), "\nExit status: ")
	var b strings.Builder
	fmt.Fprintf(&b, "# tcptrace 8 %q %q %q\n\n", built(), "tcptrace", "System Administration")
	b.WriteString("# NAME\n\ntcptrace - " + purpose + "\n\n# SYNOPSIS\n\n**tcptrace** [*flags*] [**--** *command args...*]\n\n")
	b.WriteString("# DESCRIPTION\n\n" + literal(strings.TrimSpace(synopsis)) + "\n\n" + liveWords + "\n\n# OPTIONS\n\n")
	flagSet(&options{}, &rawFlags{}).VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, does := pflag.UnquoteUsage(f)
		if f.Shorthand != "" {
			b.WriteString("**-" + f.Shorthand + "**, ")
		}
		b.WriteString("**--" + f.Name + "**")
		switch {
		case f.Value.Type() == "bool":
		case f.NoOptDefVal != "":
			b.WriteString("[=*" + literal(value) + "*]")
		default:
			b.WriteString(" *" + literal(value) + "*")
		}
		b.WriteString("\n: " + literal(does))
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			b.WriteString(" (default " + literal(f.DefValue) + ")")
		}
		b.WriteString("\n\n")
	})
	b.WriteString("# EXAMPLES\n\n")
	for line := range strings.Lines(shown) {
		b.WriteString("    " + strings.TrimPrefix(line, "  "))
	}
	b.WriteString("\n# EXIT STATUS\n\n" + literal(strings.TrimSpace(status)) + "\n\n")
	b.WriteString("# SEE ALSO\n\n**ss**(8), **tcpdump**(8), **bpf**(2), **tcp**(7)\n")
	return b.String()
}

// built is the day of the commit that this program was built from, "" where that is not known.
func built() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			day, _, _ := strings.Cut(s.Value, "T")
			return day
		}
	}
	return ""
}

// literal keeps words from being taken for Markdown.
func literal(words string) string { return markdown.Replace(words) }

var markdown = strings.NewReplacer("*", "\\*", "_", "\\_", "<", "\\<", ">", "\\>", "|", "\\|", "`", "\\`", "…", "...")
