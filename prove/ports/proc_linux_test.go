package ports

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	path := filepath.Join(t.TempDir(), "s")
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	all, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for network, address := range map[string]string{"tcp": tcp.Addr().String(), "unix": path, "udp": udp.LocalAddr().String()} {
		if !slices.ContainsFunc(all, func(l Listener) bool { return l.Network == network && l.Address == address && l.Pid == os.Getpid() }) {
			t.Errorf("%s %s is not among %v", network, address, all)
		}
	}
	family, err := descendants(os.Getppid())
	if err != nil || !slices.Contains(family, os.Getpid()) {
		t.Errorf("%d is no child in %v, %v", os.Getpid(), family, err)
	}
}
