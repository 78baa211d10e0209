// Server is the program of the web examples: an HTTP server that says who it is
// and how it is confined. It listens on the socket that it is passed
// (sd_listen_fds(3)), or on the address LISTEN; NAME is what it calls itself. It
// says when it is ready (sd_notify(3)), and ends without cutting anybody off.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	name := os.Getenv("NAME")
	listener, err := listen()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s: pid %d, uid %d\n", name, os.Getpid(), os.Getuid())
	})
	visitors := &visitors{}
	server := &http.Server{Handler: visitors.see(mux), ConnState: visitors.count, ReadHeaderTimeout: 5 * time.Second}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() {
		visitors.leave()
		listener.Close() // whoever knocks from now on is another's who has the socket
	})
	log.Printf("%s listens on %s", name, listener.Addr())
	if err := notify("READY=1"); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, net.ErrClosed) {
		return err
	}
	// Every connection that was accepted is counted by now.
	visitors.wait(time.Second)
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		return err
	}
	log.Printf("%s is done", name)
	return nil
}

// listen takes the socket that was passed, or makes one at LISTEN.
func listen() (net.Listener, error) {
	const first = 3 // SD_LISTEN_FDS_START
	if n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS")); n > 0 && os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		file := os.NewFile(first, "socket")
		defer file.Close()
		return net.FileListener(file)
	}
	address := os.Getenv("LISTEN")
	if address == "" {
		return nil, errors.New("no socket was passed and LISTEN is not set: cannot know where to listen")
	}
	return net.Listen("tcp", address)
}

// notify tells the service manager, if it listens.
func notify(message string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(message))
	return err
}
