package local

import (
	"net"
	"strconv"
	"testing"
)

func busyPort(t *testing.T, address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	_, err = DefaultPorts.Choose(host, port)
	wantError(t, err, "in use", "hint: --ports auto")
	other, err := AutoPorts.Choose(host, port)
	if err != nil || other == address {
		t.Errorf("auto chooses %s, %v", other, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Ports{DefaultPorts, AutoPorts} {
		if got, err := p.Choose(host, port); err != nil || got != address {
			t.Errorf("%v chooses %s, %v, not the free %s", p, got, err, address)
		}
	}
}
