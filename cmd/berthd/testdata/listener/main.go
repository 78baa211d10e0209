// Listener is a program that is started with sockets, for the tests of berthd. It
// takes them by systemd's own Go library and tells what it got. Each line of a
// client is answered with the program's name for the socket, its pid, and the
// line. Its argument says what it does then: "stay", "once" (end after the first
// client) or "leave" (end without taking anything).
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

func main() {
	files := activation.Files(true)
	for i, f := range files {
		fmt.Println("fd", i+3, f.Name())
	}
	fmt.Println("sockets", len(files), "left in the environment:", os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_PID"))
	if len(os.Args) > 1 && os.Args[1] == "leave" {
		return
	}
	served := make(chan string)
	for _, f := range files {
		switch kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE); {
		case err != nil:
			go read(f, served)
		case kind == unix.SOCK_DGRAM:
			c, err := net.FilePacketConn(f)
			check(err)
			go receive(f.Name(), c, served)
		default:
			l, err := net.FileListener(f)
			check(err)
			go accept(f.Name(), l, served)
		}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	for {
		select {
		case what := <-served:
			fmt.Println(what)
			if len(os.Args) > 1 && os.Args[1] == "once" {
				return
			}
		case <-term:
			return
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func accept(name string, l net.Listener, served chan<- string) {
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Println("accept:", err)
			return
		}
		in := bufio.NewScanner(c)
		for in.Scan() {
			fmt.Fprintf(c, "%s %d %s\n", name, os.Getpid(), in.Text())
		}
		c.Close()
		served <- "served " + name
	}
}

func receive(name string, c net.PacketConn, served chan<- string) {
	buf := make([]byte, 1000)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			fmt.Println("receive:", err)
			return
		}
		if a, ok := from.(*net.UDPAddr); ok {
			_, _ = c.WriteTo(fmt.Appendf(nil, "%s %d %s", name, os.Getpid(), buf[:n]), a)
		}
		served <- "datagram " + name + " " + string(buf[:n])
	}
}

func read(f *os.File, served chan<- string) {
	in := bufio.NewScanner(f)
	for in.Scan() {
		served <- "line " + f.Name() + " " + in.Text()
	}
}
