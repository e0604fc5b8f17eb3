package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/isocore/isocore/secret"
)

// A Duration is written with its unit: 250ms, 30s, 15m, 1h30m.
type Duration time.Duration

// Std returns d as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func (d *Duration) parse(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 || digits(s) {
		return hinted("30s", "%q is not a duration", s)
	}
	*d = Duration(v)
	return nil
}

// A Rate is a number of operations in a time: 500/s, 100/min, 10/h, 5/day.
type Rate struct {
	N   int64
	Per time.Duration
}

var periods = []struct {
	name string
	d    time.Duration
}{{"s", time.Second}, {"min", time.Minute}, {"h", time.Hour}, {"day", 24 * time.Hour}}

// PerSecond returns the operations a second.
func (r Rate) PerSecond() float64 { return float64(r.N) / r.Per.Seconds() }

func (r Rate) String() string {
	for _, p := range periods {
		if p.d == r.Per {
			return strconv.FormatInt(r.N, 10) + "/" + p.name
		}
	}
	return ""
}

func (r *Rate) parse(s string) error {
	count, period, _ := strings.Cut(s, "/")
	n, err := strconv.ParseInt(count, 10, 64)
	for _, p := range periods {
		if p.name == period && err == nil && digits(count) && n > 0 {
			*r = Rate{n, p.d}
			return nil
		}
	}
	return hinted("500/s", "%q is not a rate", s)
}

// A Budget is a number of bytes a day: 1GiB/day.
type Budget int64

var sizes = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (b Budget) String() string {
	for _, u := range sizes {
		if int64(b)%u.bytes == 0 {
			return strconv.FormatInt(int64(b)/u.bytes, 10) + u.name + "/day"
		}
	}
	return ""
}

func (b *Budget) parse(s string) error {
	size, found := strings.CutSuffix(s, "/day")
	for _, u := range sizes {
		count, ok := strings.CutSuffix(size, u.name)
		if !ok || !found || !digits(count) {
			continue
		}
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || n < 1 || n > math.MaxInt64/u.bytes {
			break
		}
		*b = Budget(n * u.bytes)
		return nil
	}
	return hinted("1GiB/day", "%q is not a number of bytes a day", s)
}

// A Size is a number of bytes: 16MiB.
type Size int64

func (s Size) String() string { return strings.TrimSuffix(Budget(s).String(), "/day") }

func (s *Size) parse(text string) error {
	var b Budget
	if err := b.parse(text + "/day"); err != nil {
		return hinted("16MiB", "%q is not a number of bytes", text)
	}
	*s = Size(b)
	return nil
}

// An Upstream is where an application answers: http://host:port or
// https://host:port, and nothing behind.
type Upstream struct {
	TLS  bool
	Addr string // host:port
}

// Local reports whether the way to the application stays on this machine.
func (u Upstream) Local() bool { return Address{"tcp", u.Addr}.Local() }

func (u Upstream) String() string {
	if u.TLS {
		return "https://" + u.Addr
	}
	return "http://" + u.Addr
}

func (u *Upstream) parse(s string) error {
	scheme, addr, _ := strings.Cut(s, "://")
	var a Address
	if err := a.parse(addr); err != nil || a.Network != "tcp" || scheme != "http" && scheme != "https" {
		return hinted("http://127.0.0.1:7081", "%q is neither http://host:port nor https://host:port", s)
	}
	*u = Upstream{scheme == "https", addr}
	return nil
}

// A Percent is a share, written with its sign: 5%.
type Percent float64

// Fraction returns p as a part of one.
func (p Percent) Fraction() float64 { return float64(p) / 100 }

func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

func (p *Percent) parse(s string) error {
	number, found := strings.CutSuffix(s, "%")
	whole, part, dot := strings.Cut(number, ".")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !found || !digits(whole) || dot && !digits(part) || v >= 100 {
		return hinted("5%", "%q is not a share", s)
	}
	*p = Percent(v)
	return nil
}

// A Listen is where clients come: an IP address with a port, or off, which is
// the zero Listen.
type Listen struct{ netip.AddrPort }

// Off reports whether nothing listens.
func (l Listen) Off() bool { return !l.IsValid() }

// Loopback reports whether only this machine can come.
func (l Listen) Loopback() bool { return l.Addr().Unmap().IsLoopback() }

func (l Listen) String() string {
	if l.Off() {
		return "off"
	}
	return l.AddrPort.String()
}

func (l *Listen) parse(s string) error {
	if s == "off" {
		*l = Listen{}
		return nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Addr().Zone() != "" {
		return hinted("127.0.0.1:7432, or 0.0.0.0:7432 for every interface", "%q is not an IP address with a port", s)
	}
	*l = Listen{a}
	return nil
}

// An Address is where a store is.
type Address struct {
	Network string // unix or tcp
	Addr    string // path of the socket, or host:port
}

// Local reports whether the way to the store stays on this machine.
func (a Address) Local() bool {
	p, err := netip.ParseAddrPort(a.Addr)
	return a.Network == "unix" || err == nil && p.Addr().Unmap().IsLoopback()
}

func (a Address) String() string { return a.Addr }

func (a *Address) parse(s string) error {
	if strings.Contains(s, "/") {
		*a = Address{"unix", s}
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || n == 0 || host == "" || !digits(port) || strings.ContainsAny(host, " \"'\\@?#%") {
		return hinted("/run/postgresql/.s.PGSQL.5432, or db.example.org:5432", "%q is neither the path of a socket nor host:port", s)
	}
	*a = Address{"tcp", s}
	return nil
}

func (a *Address) resolve(dir string) error {
	if a.Network != "unix" {
		return nil
	}
	a.Addr = within(dir, a.Addr)
	return nil
}

// A Path is the absolute path of something that need not exist yet.
type Path string

func (p Path) String() string { return string(p) }

func (p *Path) parse(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	*p = Path(s)
	return nil
}

func (p *Path) resolve(dir string) error {
	*p = Path(within(dir, string(*p)))
	return nil
}

// A File is the absolute path of a file and what it held when the
// configuration was read. The zero File is none.
type File struct {
	Path Path
	Data []byte
}

func (f File) String() string { return string(f.Path) }

func (f *File) parse(s string) error { return f.Path.parse(s) }

func (f *File) resolve(dir string) error { return f.Path.resolve(dir) }

func (f *File) load(d disk) (err error) {
	f.Data, err = d.read(string(f.Path), anyone)
	return err
}

// A Secret is the absolute path of a file that only its owner can read and
// what it held, less the newline at its end, when the configuration was read.
type Secret struct {
	Path Path
	Text secret.Text
}

func (s Secret) String() string { return string(s.Path) }

func (s *Secret) parse(p string) error { return s.Path.parse(p) }

func (s *Secret) resolve(dir string) error { return s.Path.resolve(dir) }

func (s *Secret) load(d disk) error {
	b, err := d.read(string(s.Path), owner)
	if err != nil {
		return err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" {
		return fmt.Errorf("%s is empty", s.Path)
	}
	s.Text = secret.New(text)
	return nil
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
