// Ready says that it is ready, among other things, and waits for a signal.
package main

import (
	"net"
	"os"
	"os/signal"
)

func main() {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	for _, message := range []string{"STATUS=beginning", "FDSTORE=1", "X=1\nREADY=1\nMAINPID=1"} {
		if _, err := conn.Write([]byte(message)); err != nil {
			println(err.Error())
			os.Exit(1)
		}
	}
	if len(os.Args) > 1 {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop)
		<-stop
	}
}
