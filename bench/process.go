package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A crew is the processes of one bench: all end with it.
type crew struct{ hands []hand }

// A hand is one process, and how it is told to end.
type hand struct {
	cmd *exec.Cmd
	end func() error
}

// hire starts c, which is told to end by SIGTERM.
func (w *crew) hire(c *exec.Cmd) error {
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		return err
	}
	w.hands = append(w.hands, hand{c, func() error { return c.Process.Signal(syscall.SIGTERM) }})
	return nil
}

// again starts this very program in another role, which ends with its stdin,
// and returns what it says where it answers.
func (w *crew) again(ctx context.Context, args ...string) (place, error) {
	self, err := os.Executable()
	if err != nil {
		return place{}, err
	}
	c := exec.Command(self, args...)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	in, errIn := c.StdinPipe()
	out, errOut := c.StdoutPipe()
	if err := errors.Join(errIn, errOut, c.Start()); err != nil {
		return place{}, err
	}
	w.hands = append(w.hands, hand{c, in.Close})
	said := make(chan place, 1)
	failed := make(chan error, 1)
	go func() {
		p, err := readPlace(out)
		said <- p
		failed <- err
	}()
	select {
	case p := <-said:
		return p, <-failed
	case <-time.After(30 * time.Second):
		return place{}, fmt.Errorf("%v says nothing", args)
	case <-ctx.Done():
		return place{}, ctx.Err()
	}
}

// close ends everybody, the last first, at last by force.
func (w *crew) close() error {
	var errs []error
	for len(w.hands) > 0 {
		h := w.hands[len(w.hands)-1]
		w.hands = w.hands[:len(w.hands)-1]
		late := time.AfterFunc(10*time.Second, func() { h.cmd.Process.Kill() }) //nolint:errcheck // it may be gone
		if err := h.end(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		if err := h.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Base(h.cmd.Path), err))
		}
		late.Stop()
	}
	return errors.Join(errs...)
}

// free returns an address of loopback that nobody listens on.
func free() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// answers waits until somebody listens at address.
func answers(ctx context.Context, address string) error {
	for range 50 {
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("nobody answers at %s", address)
}

// nginx starts one with these blocks in its http section.
func (w *crew) nginx(ctx context.Context, dir, workers, blocks string) error {
	path, err := findNginx()
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("worker_processes %s;\npid %s/pid;\nerror_log stderr error;\nevents {}\nhttp {\naccess_log off;\nkeepalive_requests 1000000000;\n"+
		"client_body_temp_path %[2]s/body;\nproxy_temp_path %[2]s/proxy;\nfastcgi_temp_path %[2]s/fastcgi;\nuwsgi_temp_path %[2]s/uwsgi;\nscgi_temp_path %[2]s/scgi;\n%s}\n",
		workers, dir, blocks)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return w.hire(exec.CommandContext(context.WithoutCancel(ctx), path, "-p", dir, "-c", file, "-g", "daemon off;"))
}

// findNginx looks where daemons are too, which not every PATH has.
func findNginx() (string, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx")
	}
	return path, err
}
