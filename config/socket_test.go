package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The socket of a file is known without any of the files it names, and without
// what else may be wrong with it.
func TestSocket(t *testing.T) {
	dir := t.TempDir()
	for _, x := range []struct{ text, socket, says string }{
		{"version: 1\ntrust_domain: a.example\nregistry: {dsn_file: /nowhere/dsn}\nadmin: {socket: run/other.sock}\nbrokers: {}\n", dir + "/run/other.sock", ""},
		{"version: 1\n", dir + "/run/admin.sock", ""},
		{"version: 1\nadmin: {socket: ''}\n", "", "admin.socket"},
		{"version: 1\nadmin: {socket: [1]}\n", "", "admin.socket"},
		{"{", "", "not YAML"},
		{"- a\n", "", "has to be a section"},
	} {
		file := filepath.Join(dir, "isocore.yaml")
		if err := os.WriteFile(file, []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		socket, err := Socket(file)
		if socket != x.socket || (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says) {
			t.Errorf("%q: %q, %v", x.text, socket, err)
		}
	}
	if _, err := Socket(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Error(err)
	}
}
