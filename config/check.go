package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// maxSocket is how long the path of a unix socket may be everywhere.
const maxSocket = 100

// Load reads the file at path. Its error is [Problems] unless the file itself
// cannot be read.
func Load(path string) (*Config, error) {
	data, err := local{}.read(path, anyone)
	if err != nil {
		return nil, Problems{{File: path, Line: 1, Column: 1, What: err.Error(), Hint: hintOf(err)}}
	}
	return Parse(path, data)
}

// Parse returns the configuration data, read from file: paths in it are
// relative to the directory of file. Its error is [Problems], all there are.
func Parse(file string, data []byte) (*Config, error) { return parse(file, data, local{}) }

func parse(file string, data []byte, files disk) (*Config, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, Problems{{File: file, Line: 1, Column: 1, What: err.Error()}}
	}
	d := &decoder{
		file: file, dir: filepath.Dir(abs), disk: files,
		at: make(map[string]position), failed: make(map[string]bool),
	}
	var c Config
	if root := d.document(data); root != nil {
		d.section("", root, reflect.ValueOf(&c).Elem())
		if !d.failed[""] {
			d.check(&c)
		}
	}
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return &c, nil
}

// want reports what is wrong with path unless fine, or something was said of
// it before.
func (d *decoder) want(fine bool, path, what, hint string) {
	if !fine && d.ok(path) {
		d.fail(path, what, hint)
	}
}

// check reports what no single setting shows.
func (d *decoder) check(c *Config) {
	d.want(domain(c.TrustDomain), "trust_domain", fmt.Sprintf("%q is not a lower-case DNS name", c.TrustDomain), "write isocore.example.org")
	if err := d.disk.dir(string(c.Keys.Dir)); err != nil {
		d.want(false, "keys.dir", err.Error(), hintOf(err))
	}
	brokers := reflect.TypeFor[Brokers]()
	var known []string
	for i := range brokers.NumField() {
		known = append(known, brokers.Field(i).Tag.Get("yaml"))
	}
	for _, s := range c.Audit.Strict {
		d.want(slices.Contains(known, s), "audit.strict", fmt.Sprintf("%q is not a broker", s), meant(nearest(s, known)))
	}
	d.want(len(c.Admin.Socket) <= maxSocket, "admin.socket",
		fmt.Sprintf("%s has %d bytes; a socket may have %d", c.Admin.Socket, len(c.Admin.Socket), maxSocket), "use a shorter directory")
	d.want(c.Brokers != Brokers{}, "brokers", "is empty: nothing would run", "add a section edge or postgres")
	d.door("admin", c.Admin.Listen, c.Admin.TLS)
	if c.Brokers.Postgres != nil {
		d.postgres("brokers.postgres", c.Brokers.Postgres)
		d.apart("brokers.postgres.listen", c.Brokers.Postgres.Listen, "admin.listen", c.Admin.Listen)
	}
	if c.Brokers.Edge != nil {
		d.edge("brokers.edge", c)
		d.apart("brokers.edge.listen", c.Brokers.Edge.Listen, "admin.listen", c.Admin.Listen)
	}
	if c.Brokers.Edge != nil && c.Brokers.Postgres != nil {
		d.apart("brokers.edge.listen", c.Brokers.Edge.Listen, "brokers.postgres.listen", c.Brokers.Postgres.Listen)
	}
	if c.Brokers.Exchange != nil {
		d.want(!c.Admin.Listen.Off(), "brokers.exchange", "is there, and admin.listen, where it answers, is off", "give admin.listen an address")
		for _, h := range c.Brokers.Exchange.Hosts {
			d.want(domain(h), "brokers.exchange.hosts", fmt.Sprintf("%q is not a lower-case DNS name", h), "write isocore.internal")
		}
	}
}

// apart reports two doors at one address.
func (d *decoder) apart(path string, l Listen, other string, at Listen) {
	d.want(l.Off() || l != at || l.Port() == 0, path, "is the address of "+other, "")
}

func (d *decoder) postgres(path string, p *Postgres) {
	d.want(!p.Listen.Off(), path+".listen", "is off, and the broker would not be reached", "leave out the section brokers.postgres")
	d.door(path, p.Listen, p.TLS)
	d.store(path+".store", &p.Store)
	for _, key := range slices.Sorted(maps.Keys(p.Databases)) {
		db, at := p.Databases[key], path+".databases."+key
		if db.Name == "" {
			db.Name = key
			p.Databases[key] = db
		}
		d.want(len(key) < 64, at, "is longer than the 63 bytes of a database's name", "")
		d.want(len(db.Name) < 64, at+".name", "is longer than the 63 bytes of a database's name", "")
		d.want(len(db.Schemas) > 0, at+".schemas", "is empty: nothing could be read", "")
		for _, s := range db.Schemas {
			own := s == "isocore" || s == "information_schema" || strings.HasPrefix(s, "pg_")
			d.want(!own, at+".schemas", fmt.Sprintf("%q belongs to the server or to us", s), "name schemas that hold tenants' tables")
			d.want(len(s) < 64, at+".schemas", "holds a name longer than 63 bytes", "")
		}
	}
}

// door checks an address where clients come and its certificate.
func (d *decoder) door(path string, l Listen, t TLS) {
	cert, key := path+".tls.cert_file", path+".tls.key_file"
	if (t.Cert.Path == "") != (t.Key.Path == "") {
		d.want(t.Cert.Path != "", cert, "is missing beside the key", "")
		d.want(t.Key.Path != "", key, "is missing beside the certificate", "")
		return
	}
	plain := t.Cert.Path == "" && d.ok(cert) && d.ok(key)
	if plain && !l.Off() && !l.Loopback() {
		d.want(false, path+".listen", l.String()+" is reached from other machines, and there is no TLS", "set "+cert+" and "+key)
	}
	if t.Cert.Path != "" && d.ok(cert) && d.ok(key) {
		_, err := t.Certificate()
		d.want(err == nil, cert, fmt.Sprintf("is not the certificate of the key: %v", err), "")
	}
}

func (d *decoder) store(path string, s *Store) {
	if !d.ok(path) || !d.ok(path+".address") {
		return
	}
	unix, given := s.Address.Network == "unix", s.TLS != ""
	if !given && d.ok(path+".tls") {
		s.TLS = "verify-full"
		if unix {
			s.TLS = "off"
		}
	}
	d.want(!unix || s.TLS == "off", path+".tls", "is verify-full on a unix socket, where PostgreSQL has no TLS", "leave it out")
	d.want(s.TLS != "off" || s.Address.Local(), path+".tls", "is off, and "+s.Address.Addr+" is another machine", "write verify-full")
	d.want(!unix || len(s.Address.Addr) <= maxSocket, path+".address", "is longer than the 100 bytes of a socket", "use a shorter directory")
	if s.CA.Path != "" && d.ok(path+".ca_file") {
		d.want(s.TLS != "off", path+".ca_file", "is there, and TLS is off", "leave it out")
		d.want(x509.NewCertPool().AppendCertsFromPEM(s.CA.Data), path+".ca_file", "holds no certificate in PEM", "")
	}
}

// Off reports whether there is no certificate.
func (t TLS) Off() bool { return t.Cert.Path == "" }

// Certificate returns the certificate with its key.
func (t TLS) Certificate() (tls.Certificate, error) {
	return tls.X509KeyPair(t.Cert.Data, []byte(t.Key.Text.Reveal()))
}

func domain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}
