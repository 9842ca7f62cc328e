package admin

import (
	"fmt"
	"net"
	"os/user"
	"strconv"
	"syscall"
)

// peers is a Unix socket whose connections have as their remote address the user
// at the other end, as the kernel knows it. The path that a client may have bound
// its own end to says nothing.
type peers struct{ *net.UnixListener }

// Accept implements net.Listener.
func (l peers) Accept() (net.Conn, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return peerConn{conn, peerOf(conn)}, nil
}

type peerConn struct {
	*net.UnixConn
	peer peer
}

// RemoteAddr implements net.Conn.
func (c peerConn) RemoteAddr() net.Addr { return c.peer }

// peer is the user who connected to a Unix socket; known is false where the kernel
// does not tell.
type peer struct {
	uid   uint32
	known bool
}

// peerOf asks the kernel (SO_PEERCRED, unix(7)): it keeps who connected.
func peerOf(conn *net.UnixConn) (p peer) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{}
	}
	err = raw.Control(func(fd uintptr) {
		if c, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			p = peer{c.Uid, true}
		}
	})
	if err != nil {
		return peer{}
	}
	return p
}

// Network implements net.Addr.
func (peer) Network() string { return "unix" }

// String implements net.Addr: "user root (uid 0)", or without the name where the
// user has none.
func (p peer) String() string {
	if !p.known {
		return "a user of this machine"
	}
	uid := strconv.FormatUint(uint64(p.uid), 10)
	u, err := user.LookupId(uid)
	if err != nil {
		return "uid " + uid
	}
	return fmt.Sprintf("user %s (uid %s)", u.Username, uid)
}
