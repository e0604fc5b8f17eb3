package admin

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

type peerKey struct{}

// withPeer notes who is at the other end of a unix socket: the kernel says so.
// It is the transport's fact about a connection, kept where net/http keeps
// such facts; nothing of a tenant is in it.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || cerr != nil || !trusted(cred.Uid) {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, fmt.Sprintf("uid %d pid %d", cred.Uid, cred.Pid))
}

// trusted reports whether uid is ours or the superuser's.
func trusted(uid uint32) bool { return uid == uint32(os.Geteuid()) || uid == 0 }

// peerOf returns who calls, if that is the operator.
func peerOf(ctx context.Context) (string, bool) {
	peer, ok := ctx.Value(peerKey{}).(string)
	return peer, ok
}
