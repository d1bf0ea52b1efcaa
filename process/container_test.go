package process

import (
	"testing"
	"time"
)

const (
	id1 = "3f2b7d5c9e0a4b1f8c6d2e7a9b0c1d3e5f708192a3b4c5d6e7f8091a2b3c4d5e"
	id2 = "b0a1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9f"
	uid = "7f2d1c3b-55aa-4e1b-9d0c-0123456789ab"
)

// TestContainerInPath: paths as runtimes make them, with cgroupfs and systemd, version 1 and 2.
func TestContainerInPath(t *testing.T) {
	const (
		slice = "7f2d1c3b_55aa_4e1b_9d0c_0123456789ab"
		hash  = "0123456789abcdef0123456789abcdef"
	)
	for _, c := range []struct {
		name, path string
		want       Container
	}{
		{"root", "/", Container{}},
		{"none", "", Container{}},
		{"service", "/system.slice/sshd.service", Container{}},
		{"session", "/user.slice/user-1000.slice/session-3.scope", Container{}},
		{"app-scope", "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-2214.scope", Container{}},
		{"a-hash-of-32", "/jobs/" + hash, Container{}},
		{"docker-cgroupfs", "/docker/" + id1, Container{id1, "docker", ""}},
		{"docker-systemd", "/system.slice/docker-" + id1 + ".scope", Container{id1, "docker", ""}},
		{"docker-rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id1 + ".scope", Container{id1, "docker", ""}},
		{"docker-own-cgroup-parent", "/ci-jobs/" + id1, Container{id1, "", ""}},
		{"docker-slice-as-cgroupfs", "/system.slice:docker:" + id1, Container{id1, "docker", ""}},
		{"docker-with-systemd-inside", "/docker/" + id1 + "/system.slice/nginx.service", Container{id1, "docker", ""}},
		{"docker-in-docker", "/docker/" + id1 + "/docker/" + id2, Container{id2, "docker", ""}},
		{"seen-from-another-cgroup-namespace", "/../docker-" + id1 + ".scope", Container{id1, "docker", ""}},
		{"nerdctl", "/system.slice/nerdctl-" + id1 + ".scope", Container{id1, "containerd", ""}},
		{"containerd-namespace", "/default/" + id1, Container{id1, "", ""}},
		{"podman", "/machine.slice/libpod-" + id1 + ".scope", Container{id1, "podman", ""}},
		{"podman-crun", "/machine.slice/libpod-" + id1 + ".scope/container", Container{id1, "podman", ""}},
		{"podman-pod", "/machine.slice/machine-libpod_pod_" + id2 + ".slice/libpod-" + id1 + ".scope", Container{id1, "podman", ""}},
		{"podman-rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id1 + ".scope/container", Container{id1, "podman", ""}},
		{"podman-cgroupfs", "/libpod_parent/libpod-" + id1, Container{id1, "podman", ""}},
		{"podman-in-a-service", "/system.slice/web.service/libpod-payload-" + id1, Container{id1, "podman", ""}},
		{"podman's-monitor", "/machine.slice/libpod-conmon-" + id1 + ".scope", Container{}},
		{"cri-o's-monitor", "/system.slice/crio-conmon-" + id1 + ".scope", Container{}},
		{"kubernetes-cgroupfs-guaranteed", "/kubepods/pod" + uid + "/" + id1, Container{id1, "", uid}},
		{"kubernetes-cgroupfs-burstable", "/kubepods/burstable/pod" + uid + "/" + id1, Container{id1, "", uid}},
		{"kubernetes-static-pod", "/kubepods/burstable/pod" + hash + "/" + id1, Container{id1, "", hash}},
		{"kubernetes-systemd-containerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + slice + ".slice/cri-containerd-" + id1 + ".scope", Container{id1, "containerd", uid}},
		{"kubernetes-systemd-guaranteed", "/kubepods.slice/kubepods-pod" + slice + ".slice/cri-containerd-" + id1 + ".scope", Container{id1, "containerd", uid}},
		{"kubernetes-systemd-cri-o", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + slice + ".slice/crio-" + id1 + ".scope", Container{id1, "cri-o", uid}},
		{"kubernetes-cri-o-crun", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + slice + ".slice/crio-" + id1 + ".scope/container", Container{id1, "cri-o", uid}},
		{"kubernetes-dockershim", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + slice + ".slice/docker-" + id1 + ".scope", Container{id1, "docker", uid}},
		{"kubernetes-containerd-slice-as-cgroupfs", "/system.slice/containerd.service/kubepods-burstable-pod" + slice + ".slice:cri-containerd:" + id1, Container{id1, "containerd", uid}},
		{"kubernetes-pod-alone", "/kubepods/burstable/pod" + uid, Container{"", "", uid}},
		{"k3s", "/k8s.io/" + id1, Container{id1, "", ""}},
		{"kind", "/docker/" + id1 + "/kubelet/kubepods/burstable/pod" + uid + "/" + id2, Container{id2, "", uid}},
		{"kind-systemd", "/system.slice/docker-" + id1 + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + slice + ".slice/cri-containerd-" + id2 + ".scope", Container{id2, "containerd", uid}},
		{"kind's-kubelet", "/docker/" + id1 + "/kubelet.slice", Container{id1, "docker", ""}},
		{"ecs", "/ecs/" + hash + "/" + id1, Container{id1, "", ""}},
		{"ecs-fargate", "/ecs/" + hash + "/" + hash + "-1234567890", Container{hash + "-1234567890", "", ""}},
		{"too-long", "/docker/" + id1 + "00", Container{}},
		{"capitals", "/docker/" + "3F2B7D5C9E0A4B1F8C6D2E7A9B0C1D3E5F708192A3B4C5D6E7F8091A2B3C4D5E", Container{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := containerInPath(c.path); got != c.want {
				t.Errorf("%s:\n got %+v\nwant %+v", c.path, got, c.want)
			}
		})
	}
}

// TestCgroupsAreBounded: those that were there once and are gone are not remembered for ever.
func TestCgroupsAreBounded(t *testing.T) {
	c := &Cgroups{mount: t.TempDir(), paths: map[uint64]string{}}
	for id := uint64(1); id <= maxKnown+10; id++ {
		c.walked = time.Time{}
		c.Path(1<<40 + id)
	}
	if len(c.paths) > maxKnown+1 {
		t.Errorf("%d paths are remembered", len(c.paths))
	}
	c.walked = time.Time{}
	if id, err := inode(c.mount); err != nil || c.Path(id) != "/" {
		t.Errorf("the root, %d, is %q (%v)", id, c.Path(id), err)
	}
}
