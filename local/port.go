package local

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Ports says what to do when the port of a listener is in use.
type Ports uint8

const (
	DefaultPorts Ports = iota // refuse
	AutoPorts                 // take a free one
)

// ParsePorts returns the Ports spelled s: default or auto.
func ParsePorts(s string) (Ports, error) {
	for _, p := range []Ports{DefaultPorts, AutoPorts} {
		if p.String() == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("local: ports are default or auto, not %.40q", s)
}

func (p Ports) String() string {
	if p == AutoPorts {
		return "auto"
	}
	return "default"
}

// Choose returns host and port as an address, with a free port in place of one
// in use if p is AutoPorts. The port is free when it returns, not reserved.
func (p Ports) Choose(host string, port int) (string, error) {
	address, err := tryPort(host, port)
	if err != nil && p == AutoPorts && errors.Is(err, syscall.EADDRINUSE) {
		address, err = tryPort(host, 0)
	}
	if err != nil {
		return "", fmt.Errorf("local: %w; hint: --ports auto takes a free one", err)
	}
	return address, nil
}

func tryPort(host string, port int) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
