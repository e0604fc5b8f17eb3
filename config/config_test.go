package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isocore/isocore/secret"
)

const password = "correct horse battery"

// home returns a directory with what the example refers to.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"registry.dsn", "isocore_login.password", "isocore_keeper.password"} {
		write(t, filepath.Join(dir, "keys", name), password+"\n", 0o600)
	}
	cert, key := certificate(t)
	write(t, filepath.Join(dir, "tls.crt"), cert, 0o644)
	write(t, filepath.Join(dir, "tls.key"), key, 0o600)
	return dir
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	c, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}))
}

const least = `version: 1
trust_domain: isocore.local
brokers:
  postgres:
    store: {address: db/.s.PGSQL.5432, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}
    databases: {app: {schemas: [app]}}
  edge: {routes: {notes: {host: app.test, upstream: "http://127.0.0.1:7081", reach: [pg:read, pg:write]}}}
  exchange:
`

func TestExampleIsReadAndNamesEverySetting(t *testing.T) {
	dir := home(t)
	c, err := Parse(filepath.Join(dir, "isocore.yaml"), Example())
	if err != nil {
		t.Fatal(err)
	}
	least, err := Parse(filepath.Join(dir, "isocore.yaml"), []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	least.Brokers.Postgres.Store.Address = c.Brokers.Postgres.Store.Address
	if !reflect.DeepEqual(c, least) {
		t.Errorf("the example does not spell the defaults:\n%s\n%s", c.Show(), least.Show())
	}
	var names func(reflect.Type)
	names = func(typ reflect.Type) {
		for f := range typ.Fields() {
			if key := f.Tag.Get("yaml"); !strings.Contains(string(Example()), key) {
				t.Errorf("the example does not name %s", key)
			}
			if f.Type.Kind() == reflect.Struct && f.Type.NumField() > 2 {
				names(f.Type)
			}
		}
	}
	names(reflect.TypeFor[Config]())
}

func TestDefaults(t *testing.T) {
	dir := home(t)
	c, err := Parse(filepath.Join(dir, "isocore.yaml"), []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{
		c.Registry.DSN.Path, c.Registry.DSN.Text.Equal(secret.New(password)), c.Audit.Interval.Std(), c.Audit.MinFree.Fraction(),
		c.Limits.Default.Rate.PerSecond(), c.Limits.Default.RecordBytes, c.Admin.Listen.String(), c.Brokers.Postgres.Listen.Loopback(),
		c.Brokers.Postgres.Store.Address, c.Brokers.Postgres.Store.TLS, c.Brokers.Postgres.Databases["app"].Name, c.Brokers.Postgres.TLS.Off(),
	}
	want := []any{
		Path(dir + "/keys/registry.dsn"), true, time.Millisecond, 0.05,
		500.0, Budget(1 << 30), "127.0.0.1:7900", true,
		Address{"unix", dir + "/db/.s.PGSQL.5432"},
		"off", "app", true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestShownIsRead(t *testing.T) {
	dir := home(t)
	file := filepath.Join(dir, "isocore.yaml")
	rich := strings.NewReplacer(
		"127.0.0.1:7432", `"[::]:7432"`, "    tls: {}", "    tls: {cert_file: tls.crt, key_file: tls.key}",
		"pg/run/.s.PGSQL.5432", "db.example.org:5432", "tls: off ", "ca_file: tls.crt\n      tls: verify-full ",
		"strict: []", "strict: [postgres]", "5%", "0.25%", "statement: 30s", "statement: 1h30m", "hosts: []", "hosts: [isocore.internal]", "500/s", "7/day",
	).Replace(string(Example()))
	for _, text := range []string{least, string(Example()), rich} {
		c, err := Parse(file, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("elsewhere.yaml", c.Show())
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%v: shown as\n%s", err, c.Show())
		}
		for _, out := range []string{string(c.Show()), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c.Registry)} {
			if strings.Contains(out, password) {
				t.Errorf("a secret is shown: %s", out)
			}
		}
	}
}

func TestEverythingWrongIsSaidAtOnce(t *testing.T) {
	dir := home(t)
	write(t, filepath.Join(dir, "keys", "open"), password, 0o644)
	write(t, filepath.Join(dir, "keys", "empty"), "", 0o600)
	write(t, filepath.Join(dir, "keys", "blank"), "\n", 0o600)
	write(t, filepath.Join(dir, "keys", "large"), strings.Repeat("x", maxRead+1), 0o600)
	write(t, filepath.Join(dir, "other.key"), func() string { _, k := certificate(t); return k }(), 0o600)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "loose"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "loose"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(filepath.Join(dir, "c.yaml"), []byte(c.text))
			problems, _ := errors.AsType[Problems](err)
			var got []string
			for _, p := range problems {
				got = append(got, strings.ReplaceAll(p.String(), dir+"/", ""))
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

func TestLoadOfWhatIsNotThere(t *testing.T) {
	dir := home(t)
	path := filepath.Join(dir, "isocore.yaml")
	if _, err := Load(path); err == nil || err.Error() != path+":1:1: "+path+" does not exist" {
		t.Error(err)
	}
	write(t, path, least, 0o666)
	if _, err := Load(path); err == nil || !strings.HasSuffix(err.Error(), "has mode 0666: others could use it (chmod 0644)") {
		t.Error(err)
	}
	write(t, path, least, 0o644)
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
}
