package ports

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
)

// parseAddress reads an address as the kernel prints it: words of 32 bits, each
// in the order of the machine.
func parseAddress(host, port string) (string, error) {
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return "", fmt.Errorf("ports: %.40q is not an address", host)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	a, _ := netip.AddrFromSlice(raw)
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return "", fmt.Errorf("ports: %.40q is not a port", port)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)).String(), nil
}
