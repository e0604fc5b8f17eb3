package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": "15.18",
		"postgres (PostgreSQL) 17.6\n":                           "17.6",
		"postgres (PostgreSQL) 18.0":                             "18.0",
		"postgres (PostgreSQL) 19devel":                          "",
		"postgres (PostgreSQL) 18beta1":                          "",
		"postgres (PostgreSQL) 15.x":                             "",
		"postgres (PostgreSQL) -1.2":                             "",
		"psql (PostgreSQL) 15.18":                                "",
		"":                                                       "",
	} {
		major, minor, err := parseVersion(s)
		if got := fmt.Sprintf("%d.%d", major, minor); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("parseVersion(%q) = %s, %v; want %q", s, got, err, want)
		}
	}
}

// fakeBinaries makes a folder whose postgres says that it is version.
func fakeBinaries(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindKeepsToTheFloor(t *testing.T) {
	t.Parallel()
	for version, good := range map[string]bool{
		"15.13": false, "15.14": true, "15.20": true, "16.9": false, "16.10": true, "17.5": false, "17.6": true,
		"18.0": true, "14.20": false, "19.0": false, "13.1": false,
	} {
		dir := fakeBinaries(t, version)
		b, err := Find(t.Context(), dir, 0)
		if (err == nil) != good {
			t.Errorf("%s: %v, %v", version, b, err)
		}
		if err != nil && (!errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), version)) {
			t.Errorf("%s: %v", version, err)
		}
	}
	_, err := Find(t.Context(), fakeBinaries(t, "16.10"), 15)
	wantError(t, err, "the data directory is of 15")
	_, err = Find(t.Context(), t.TempDir(), 0)
	wantError(t, err, "initdb")
}

// machine is a made-up Debian whose apt offers the policies given.
type machine struct {
	policies map[string]string
	ran      []string
	setting  string // createcluster.conf at the time of the installation
	etc      string
}

func (m *machine) run(_ context.Context, name string, args ...string) ([]byte, error) {
	line := name + " " + strings.Join(args, " ")
	m.ran = append(m.ran, line)
	if name == "apt-cache" {
		return []byte(m.policies[args[1]]), nil
	}
	if strings.HasPrefix(line, "apt-get install") {
		b, _ := os.ReadFile(filepath.Join(m.etc, "createcluster.conf"))
		m.setting = string(b)
	}
	return nil, nil
}

func TestInstallTellsDebianFirst(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policies map[string]string
		conf     string
		want     string // the package
	}{
		"the newest that will do": {map[string]string{
			"postgresql-15": policy("15.18-0+deb12u1"), "postgresql-16": policy("16.10-1"), "postgresql-17": policy("17.5-1"),
		}, "", "postgresql-16"},
		"a setting that is there": {map[string]string{"postgresql-15": policy("15.18-0+deb12u1")}, "ssl = on\n#create_main_cluster = true\ncreate_main_cluster=true\n", "postgresql-15"},
		"nothing that will do":    {map[string]string{"postgresql-15": policy("(none)"), "postgresql-16": policy("16.9-1")}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &machine{policies: test.policies, etc: filepath.Join(t.TempDir(), "postgresql-common")}
			if test.conf != "" {
				if err := errors.Join(os.Mkdir(m.etc, 0o755), os.WriteFile(filepath.Join(m.etc, "createcluster.conf"), []byte(test.conf), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			s := &Source{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), root: true, etc: m.etc, run: m.run}
			err := s.install(t.Context(), 0)
			installed := slices.ContainsFunc(m.ran, func(l string) bool {
				return strings.HasSuffix(l, " "+test.want) && strings.HasPrefix(l, "apt-get install")
			})
			if test.want == "" {
				wantError(t, err, "apt offers no PostgreSQL")
				return
			}
			if err != nil || !installed {
				t.Errorf("%v, %q", err, m.ran)
			}
			if !strings.HasSuffix(m.setting, "create_main_cluster = false\n") || strings.Contains(m.setting, "\ncreate_main_cluster=true") {
				t.Errorf("at the installation the setting was %q", m.setting)
			}
			if test.conf != "" && !strings.HasPrefix(m.setting, "ssl = on\n") {
				t.Errorf("the settings that were there are %q", m.setting)
			}
		})
	}
}

func policy(version string) string {
	return "postgresql:\n  Installed: (none)\n  Candidate: " + version + "\n  Version table:\n"
}

func TestObtainPrefersWhatIsNamed(t *testing.T) {
	t.Parallel()
	m := &machine{}
	s := &Source{Binaries: fakeBinaries(t, "15.2"), Log: slog.New(slog.DiscardHandler), root: true, run: m.run}
	_, err := s.Obtain(t.Context(), t.TempDir())
	wantError(t, err, "15.2", "not supported")
	s.Binaries = fakeBinaries(t, "16.10")
	if b, err := s.Obtain(t.Context(), t.TempDir()); err != nil || b.Major != 16 {
		t.Error(b, err)
	}
	if len(m.ran) != 0 {
		t.Errorf("it ran %q", m.ran)
	}
	_, err = s.fetch(t.Context(), 17)
	wantError(t, err, "17 is not fetched")
}

func TestLogFileIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := openLog(path, 100, 2)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 29) + "\n"
	for range 50 {
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := l.Write([]byte(strings.Repeat("y", 150) + "\n")); err != nil { // larger than a file
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	names, _ := filepath.Glob(path + "*")
	if len(names) != 3 {
		t.Errorf("files: %q", names)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() > 151 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
