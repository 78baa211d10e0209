// Command guest is what the machines of the tests run: services that write,
// breed and hog, and those who look at berthd meanwhile. The first argument
// tells which.
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("not so: %q", os.Args))
	}
	what := os.Args[1]
	if what == "find" {
		fmt.Println(byArgument(os.Args[2]))
		return
	}
	number, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail(err)
	}
	switch what {
	case "count":
		err = count(number)
	case "talk":
		err = talk(number)
	case "hog":
		err = hog()
	case "bomb":
		err = bomb()
	case "orphans":
		err = orphans(number)
	case "latency":
		err = latency(number)
	case "kills":
		err = kills(number)
	default:
		err = fmt.Errorf("no such thing: %s", what)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "guest:", err)
	os.Exit(1)
}
