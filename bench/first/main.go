// Command first is what the containers of the benchmark run: it says that it runs, and
// whether it has its ten secrets. With a second argument it then stays until it is told to end.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	conn, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	n := byte(0)
	for i := range 10 {
		if os.Getenv(fmt.Sprintf("SECRET_%d", i)) != "" {
			n++
		}
	}
	_, _ = conn.Write([]byte{n})
	conn.Close()
	if len(os.Args) > 2 {
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		<-end
	}
}
