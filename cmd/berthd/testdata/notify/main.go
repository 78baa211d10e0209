// Notify is a program that speaks sd_notify(3), for the tests of berthd. Its
// arguments are steps, done one after the other; what it finds it prints. It is
// static, so that it runs on an empty root.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

func main() {
	for args := os.Args[1:]; len(args) > 0; {
		step := args[0]
		arg := ""
		if key, value, ok := strings.Cut(step, "="); ok && strings.ToLower(key) == key {
			step, arg = key, value
		}
		args = args[1:]
		do(step, arg, args)
	}
}

// do does one step. Those that end the program get the rest.
func do(step, arg string, rest []string) {
	switch step {
	case "stay":
		time.Sleep(time.Hour)
	case "exit":
		os.Exit(number(arg))
	case "say":
		fmt.Println(arg)
	case "await": // await=PATH: until it is there
		for {
			if _, err := os.Stat(arg); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "send": // send=TEXT, lines divided by |; by the library
		sent, err := daemon.SdNotify(false, strings.ReplaceAll(arg, "|", "\n"))
		fmt.Println("sent", sent, err)
	case "watchdog": // what the library makes of WATCHDOG_USEC and WATCHDOG_PID
		interval, err := daemon.SdWatchdogEnabled(false)
		fmt.Println("watchdog", interval, err)
	case "ping": // ping=N,SPAN: as often, with the pause between
		n, span, _ := strings.Cut(arg, ",")
		pause, err := time.ParseDuration(span)
		check(err)
		for range number(n) {
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
			time.Sleep(pause)
		}
	case "child": // child=STEP,STEP…: a process that does them, waited for
		c := exec.Command(os.Args[0], strings.Split(arg, ",")...)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		check(c.Run())
	case "fork": // fork=STEP,STEP…: one that stays when this ends
		c := exec.Command(os.Args[0], strings.Split(arg, ",")...)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		check(c.Start())
		fmt.Println("forked", c.Process.Pid)
		os.Setenv("FORKED", strconv.Itoa(c.Process.Pid))
	case "main": // the process forked is the main one from now on
		_, err := daemon.SdNotify(false, "MAINPID="+os.Getenv("FORKED"))
		check(err)
	case "mainfd": // likewise, by a pidfd
		fd, err := unix.PidfdOpen(number(os.Getenv("FORKED")), 0)
		check(err)
		send("MAINPIDFD=1", fd)
	case "store": // store=NAME,TEXT: a memfd with the text, to be kept
		name, text, _ := strings.Cut(arg, ",")
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		check(err)
		_, err = unix.Write(fd, []byte(text))
		check(err)
		send("FDSTORE=1\nFDNAME="+name, fd)
		unix.Close(fd)
	case "store-file": // store-file=PATH: something that cannot be kept
		f, err := os.Open(arg)
		check(err)
		send("FDSTORE=1\nFDNAME=file", int(f.Fd()))
	case "stored": // what was kept, by name
		for _, f := range activation.Files(false) {
			text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
			fmt.Println("stored", f.Name(), string(text), err)
		}
		fmt.Println("stored all")
	case "barrier": // until all that was sent before is done
		var p [2]int
		check(unix.Pipe2(p[:], unix.O_CLOEXEC))
		send("BARRIER=1", p[1])
		unix.Close(p[1])
		_, err := unix.Read(p[0], make([]byte, 1))
		fmt.Println("barrier", err)
	case "flood": // for ever, as fast as it goes
		fmt.Println("flooding")
		conn := dial()
		for i := 0; ; i++ {
			_, _ = conn.Write([]byte("STATUS=" + strconv.Itoa(i)))
		}
	case "large": // more than fits
		_, err := dial().Write([]byte("STATUS=" + strings.Repeat("x", 100_000)))
		fmt.Println("large", err)
	case "on": // on=SIGNAL: at each the steps that follow are done
		ch := make(chan os.Signal, 8)
		signal.Notify(ch, map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "ABRT": syscall.SIGABRT}[arg])
		fmt.Println("waiting for", arg)
		for range ch {
			for _, s := range rest {
				key, value, _ := strings.Cut(s, "=")
				do(key, value, nil)
			}
		}
	case "reloading":
		var ts unix.Timespec
		check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
		_, err := daemon.SdNotify(false, daemon.SdNotifyReloading+"\nMONOTONIC_USEC="+strconv.FormatInt(ts.Nano()/1000, 10))
		check(err)
	default:
		fmt.Println("no such step:", step)
		os.Exit(2)
	}
}

func dial() *net.UnixConn {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	check(err)
	return conn
}

func send(text string, fd int) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(err)
	defer unix.Close(s)
	check(unix.Sendmsg(s, []byte(text), unix.UnixRights(fd), &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}, 0))
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
