// Command forward accepts connections on listening sockets that it inherits
// and carries each to the same port of one target address. The sockets were opened in the network namespace of the machine, while forward
// itself runs in that of a cluster: a connection crosses from one to the other
// without an interface or a route between them.
package main

import (
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	target := flag.String("target", "", "address that connections are carried to")
	sockets := flag.String("sockets", "", "descriptors of the inherited listening sockets: 5,6,7")
	from := flag.Int("api-from", 0, "port on the machine that stands for the API server")
	to := flag.Int("api-to", 0, "port of the API server at the target")
	flag.Parse()
	failed := make(chan error)
	for _, word := range strings.Split(*sockets, ",") {
		descriptor, err := strconv.ParseUint(word, 10, 31)
		if err != nil {
			log.Fatalf("descriptor %q: %v", word, err)
		}
		listener, err := net.FileListener(os.NewFile(uintptr(descriptor), "listener"))
		if err != nil {
			log.Fatalf("descriptor %d: %v", descriptor, err)
		}
		port := listener.Addr().(*net.TCPAddr).Port
		if port == *from {
			port = *to
		}
		go func() { failed <- serve(listener, net.JoinHostPort(*target, strconv.Itoa(port))) }()
	}
	log.Fatal(<-failed)
}

func serve(listener net.Listener, target string) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go carry(client.(*net.TCPConn), target)
	}
}

// carry copies both ways until both sides are done. Where nothing listens at
// the target the client sees a reset, the nearest thing to a refusal.
func carry(client *net.TCPConn, target string) {
	defer client.Close()
	dialled, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		_ = client.SetLinger(0)
		return
	}
	server := dialled.(*net.TCPConn)
	defer server.Close()
	done := make(chan struct{})
	go func() {
		copyHalf(client, server)
		close(done)
	}()
	copyHalf(server, client)
	<-done
}

// copyHalf passes the end of a stream on as an end, and an abort as an abort.
func copyHalf(to, from *net.TCPConn) {
	_, err := io.Copy(to, from)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		_ = to.SetLinger(0)
		_ = to.Close()
		_ = from.Close()
		return
	}
	_ = to.CloseWrite()
}
