package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// serve answers requests at the address: /up with 200 while the file is there,
// and in bad ways for the rest.
func serve(address, file string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	say("listens", address)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go answer(c, file)
	}
}

func answer(c net.Conn, file string) {
	defer c.Close()
	request, _ := bufio.NewReader(c).ReadString('\n')
	switch path := strings.Fields(request + " x x")[1]; path {
	case "/up":
		status := "200 OK"
		if _, err := os.Stat(file); err != nil {
			status = "503 Service Unavailable"
		}
		fmt.Fprintf(c, "HTTP/1.1 %s\r\nConnection: close\r\n\r\nthis is %s\n", status, status)
	case "/drip":
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "/flood":
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n")
		for {
			if _, err := fmt.Fprintf(c, "X: %s\r\n", strings.Repeat("x", 4000)); err != nil {
				return
			}
		}
	default: // never
		_, _ = io.Copy(io.Discard, c)
	}
}
