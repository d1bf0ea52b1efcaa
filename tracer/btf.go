package tracer

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf/btf"
)

// ownBTF is where the kernel describes its types itself.
const ownBTF = "/sys/kernel/btf/vmlinux"

// hasBTF reports whether the running kernel describes its types itself.
func hasBTF() bool {
	_, err := os.Stat(ownBTF)
	return err == nil
}

// kernelTypes are the running kernel's: from file, raw BTF or an ELF vmlinux with it, or, where
// that is "", the kernel's own or those of a vmlinux in a usual place.
func kernelTypes(file string) (*btf.Spec, error) {
	if file == "" {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoBTF, err)
		}
		return spec, nil
	}
	raw, err := rawBTF(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBTFFile, err)
	}
	// Another kernel's would be believed, and every field be read from the wrong place.
	own, err := os.ReadFile(ownBTF)
	switch {
	case err == nil && !bytes.Equal(raw, own):
		return nil, fmt.Errorf("%w: %s is not the running kernel's, which has its own: leave --btf out", ErrBTFFile, file)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", ErrBTFFile, err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err == nil {
		var function *btf.Func
		err = spec.TypeByName("tcp_v4_rcv", &function)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s holds no types of a kernel: %w", ErrBTFFile, file, err)
	}
	return spec, nil
}

// rawBTF reads a file that is BTF, or an ELF file that holds it.
func rawBTF(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(content, []byte{0x9f, 0xeb}), bytes.HasPrefix(content, []byte{0xeb, 0x9f}):
		return content, nil
	case !bytes.HasPrefix(content, []byte(elf.ELFMAG)):
		return nil, fmt.Errorf("%s is neither BTF nor an ELF file such as vmlinux", file)
	}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	section := f.Section(".BTF")
	if section == nil {
		return nil, fmt.Errorf("%s has no section .BTF: it was built without CONFIG_DEBUG_INFO_BTF", file)
	}
	raw, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return raw, nil
}
