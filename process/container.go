package process

import (
	"regexp"
	"strings"
)

// Container is what the path of a cgroup shows of the container that it is of. What it does not show is "".
type Container struct {
	// ID is whole, as the runtime has it.
	ID string
	// Runtime is docker, containerd, cri-o or podman.
	Runtime string
	// PodUID is the Kubernetes pod's, with dashes.
	PodUID string
}

// Runtimes' names for a container's cgroup are 64 hexadecimal digits, with a word before them that
// tells the runtime: docker-ID.scope under systemd, SLICE:cri-containerd:ID where containerd was told to use
// systemd and its configuration not, the bare ID otherwise. Amazon's ECS on Fargate has its own kind of ID.
var (
	containerName = regexp.MustCompile(`^(.*[-:])?([0-9a-f]{64})(?:\.scope)?$`)
	fargateName   = regexp.MustCompile(`^[0-9a-f]{32}-[0-9]+$`)
	// A static pod's UID is a hash without dashes; slices have "_" for "-".
	podName = regexp.MustCompile(`(?:^|-)pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
)

// runtimes by the word before the ID.
var runtimes = map[string]string{
	"docker":         "docker",
	"cri-containerd": "containerd",
	"nerdctl":        "containerd",
	"crio":           "cri-o",
	"libpod":         "podman",
	"libpod-payload": "podman",
}

// containerInPath reads a cgroup's path, as /proc/PID/cgroup has it. Of containers inside one another it is the innermost.
func containerInPath(path string) (c Container) {
	var parent string
	for name := range strings.SplitSeq(path, "/") {
		// SLICE:RUNTIME:ID is one name for what else is two.
		if slice, rest, ok := strings.Cut(name, ":"); ok {
			c.see(parent, slice)
			parent, name = slice, rest
		}
		c.see(parent, name)
		parent = name
	}
	return c
}

// see takes the next name of the path, below parent.
func (c *Container) see(parent, name string) {
	if m := podName.FindStringSubmatch(name); m != nil {
		*c = Container{PodUID: strings.ReplaceAll(m[1], "_", "-")}
		return
	}
	if fargateName.MatchString(name) && strings.HasPrefix(name, parent+"-") {
		c.ID, c.Runtime = name, ""
		return
	}
	m := containerName.FindStringSubmatch(name)
	if m == nil {
		return
	}
	word := strings.TrimRight(m[1], "-:")
	if strings.HasSuffix(word, "conmon") {
		return // the monitor beside the container
	}
	if word == "" {
		word = parent
	}
	c.ID, c.Runtime = m[2], runtimes[word]
}
