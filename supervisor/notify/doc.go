// Package notify is the receiving end of sd_notify(3): a datagram socket on which
// a program tells what becomes of it. Each incarnation of a unit has a socket of
// its own, so what comes in is meant for that unit; who sent it, and whether that
// one may, is told by the kernel with each message (Sender) and decided by the
// caller. Messages are data of a container: nothing of them is trusted.
//
// The supervisor binds the socket's file into the container, has the reaper keep
// the descriptor, and takes it up again (Adopt) when an earlier supervisor was
// lost: what was sent meanwhile waits in it.
package notify
