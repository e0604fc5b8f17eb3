package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	pidFile       = "run/pid"
	endpointsFile = "run/endpoints.json"
)

// ErrNotRunning is returned for a state directory that no process serves.
var ErrNotRunning = errors.New("not running")

// Endpoints say where a running instance answers. They are the truth of it:
// ports may have been chosen at its start.
type Endpoints struct {
	Pid       int               `json:"pid"`
	Addresses map[string]string `json:"addresses"` // by name: admin and the stores' brokers
}

// Announce writes run/pid and run/endpoints.json.
func (d *Dir) Announce(addresses map[string]string) error {
	pid := os.Getpid()
	born, err := bornAt(pid)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(Endpoints{pid, addresses}, "", "  ")
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	if err := d.replace(endpointsFile, append(b, '\n')); err != nil {
		return err
	}
	return d.replace(pidFile, []byte(Instance{pid, born}.String()))
}

// ReadEndpoints returns where the instance of the state directory path
// answers, or [ErrNotRunning].
func ReadEndpoints(path string) (Endpoints, error) {
	i, err := Running(path)
	if err != nil {
		return Endpoints{}, err
	}
	b, err := os.ReadFile(filepath.Join(path, endpointsFile))
	if err != nil {
		return Endpoints{}, fmt.Errorf("local: %w", err)
	}
	var e Endpoints
	if err := json.Unmarshal(b, &e); err != nil {
		return Endpoints{}, fmt.Errorf("local: %s: %w", filepath.Join(path, endpointsFile), err)
	}
	if e.Pid != i.Pid {
		return Endpoints{}, fmt.Errorf("local: %s is process %d's, and %d runs", filepath.Join(path, endpointsFile), e.Pid, i.Pid)
	}
	return e, nil
}

// An Instance is the process that serves a state directory.
type Instance struct {
	Pid  int
	born string
}

// Running returns who serves the state directory path, or [ErrNotRunning]. A
// run/pid that a killed process left is not believed: the process must also
// have started when the file says.
func Running(path string) (Instance, error) {
	file := filepath.Join(path, pidFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Instance{}, fmt.Errorf("local: %s: %w", path, ErrNotRunning)
	}
	if err != nil {
		return Instance{}, fmt.Errorf("local: %w", err)
	}
	i, err := parseInstance(string(b))
	if err != nil {
		return Instance{}, fmt.Errorf("local: %s: %w", file, err)
	}
	if !i.Alive() {
		return Instance{}, fmt.Errorf("local: %s: %w: process %d is gone", path, ErrNotRunning, i.Pid)
	}
	return i, nil
}

func (i Instance) String() string { return strconv.Itoa(i.Pid) + " " + i.born + "\n" }

// parseInstance reads what String writes, and nothing else.
func parseInstance(s string) (Instance, error) {
	pid, born, _ := strings.Cut(strings.TrimSuffix(s, "\n"), " ")
	n, err := strconv.Atoi(pid)
	if i := (Instance{n, born}); err == nil && n > 1 && born != "" && i.String() == s {
		return i, nil
	}
	return Instance{}, fmt.Errorf("%.80q is not a pid and a start", s)
}

// Alive reports whether it still runs.
func (i Instance) Alive() bool {
	born, err := bornAt(i.Pid)
	return err == nil && born == i.born
}

// Signal sends sig to it and to no other process that has its pid by now.
func (i Instance) Signal(sig os.Signal) error {
	p, err := os.FindProcess(i.Pid) // on Linux a handle of the process, taken before it is compared
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	defer p.Release()
	if !i.Alive() {
		return fmt.Errorf("local: process %d: %w", i.Pid, ErrNotRunning)
	}
	if err := p.Signal(sig); err != nil {
		return fmt.Errorf("local: process %d: %w", i.Pid, err)
	}
	return nil
}

// Wait returns when it has ended, or the error of ctx.
func (i Instance) Wait(ctx context.Context) error {
	return poll(ctx, func() (bool, error) { return !i.Alive(), nil })
}
