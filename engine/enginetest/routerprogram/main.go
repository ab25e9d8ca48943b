// Command routerprogram is a log router for tests: it reads as much of the configuration of
// Fluent Bit and Fluentd as the engine writes. Package enginetest says what it prints.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "router:", err)
		os.Exit(1)
	}
}

// config is what the file says: where to listen, what to add to a record.
type config struct {
	socket, tcp string
	record      map[string]any
}

func run(args []string) error {
	c := &config{record: map[string]any{}}
	if err := c.read(args[0]); err != nil {
		return err
	}
	if len(args) > 1 { // it takes its time
		d, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		time.Sleep(d)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	for network, address := range map[string]string{"unix": c.socket, "tcp": c.tcp} {
		if address == "" {
			continue
		}
		l, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		go c.serve(l)
	}
	fmt.Println("routing as", os.Getuid())
	<-term
	fmt.Println("terminated")
	return nil
}

var (
	reference = regexp.MustCompile(`\$\{([^}]+)\}|"#\{ENV\['([^']+)'\]\}"`)
	meta      = regexp.MustCompile(`^@(INCLUDE|include) (.+)$`)
)

func (c *config) read(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fmt.Println("read", path)
	section, listen := "", ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\n")
		if m := meta.FindStringSubmatch(line); m != nil {
			if err := c.read(m[2]); err != nil {
				return err
			}
			continue
		}
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") || strings.HasPrefix(line, "<") {
			section = strings.Trim(line, "[]<>")
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		value = reference.ReplaceAllStringFunc(value, func(ref string) string {
			m := reference.FindStringSubmatch(ref)
			expanded := os.Getenv(m[1] + m[2])
			fmt.Printf("option %s %x\n", key, sha256.Sum256([]byte(expanded)))
			return expanded
		})
		switch {
		case key == "unix_path" || key == "path" && section == "source":
			c.socket = value
		case key == "Listen" || key == "bind":
			listen = value
		case (key == "Port" || key == "port") && value == "24224":
			c.tcp = listen + ":24224"
		case key == "Record":
			name, value, _ := strings.Cut(value, " ")
			c.record[name] = value
		case section == "record":
			c.record[key] = value
		}
	}
	return nil
}

func (c *config) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			for {
				message, err := decode(r)
				if err == nil {
					err = c.take(conn, message)
				}
				if err != nil {
					if err != io.EOF {
						fmt.Println("broken:", err)
					}
					return
				}
			}
		}()
	}
}

// take prints the records of a message: [tag, [[time, record], …], option] or [tag, time, record, option].
func (c *config) take(conn net.Conn, message any) error {
	list, ok := message.([]any)
	if !ok || len(list) < 2 {
		return errors.New("not a message")
	}
	option := map[string]any{}
	if entries, ok := list[1].([]any); ok {
		for _, e := range entries {
			pair, ok := e.([]any)
			if !ok || len(pair) != 2 {
				return errors.New("not an entry")
			}
			c.print(list[0], pair[1])
		}
		if len(list) > 2 {
			option, _ = list[2].(map[string]any)
		}
	} else if len(list) > 2 {
		c.print(list[0], list[2])
		if len(list) > 3 {
			option, _ = list[3].(map[string]any)
		}
	}
	if chunk, ok := option["chunk"].(string); ok {
		answer := append([]byte{0x81, 0xa3}, "ack"...)
		answer = append(append(answer, 0xd9, byte(len(chunk))), chunk...)
		_, err := conn.Write(answer)
		return err
	}
	return nil
}

func (c *config) print(tag, record any) {
	m, ok := record.(map[string]any)
	if !ok {
		return
	}
	for name, value := range c.record {
		m[name] = value
	}
	text, err := json.Marshal(m)
	if err != nil {
		return
	}
	fmt.Printf("%v %s\n", tag, text)
}

// decode reads a value of MessagePack.
func decode(r *bufio.Reader) (any, error) {
	head, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	number := func(size int) uint64 {
		var b [8]byte
		if _, e := io.ReadFull(r, b[8-size:]); e != nil {
			err = e
		}
		return binary.BigEndian.Uint64(b[:])
	}
	text := func(n uint64) (any, error) {
		if err != nil || n > 8<<20 {
			return nil, fmt.Errorf("a text of %d bytes: %w", n, err)
		}
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return string(b), err
	}
	array := func(n uint64) (any, error) {
		list := []any{}
		for range n {
			v, err := decode(r)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, err
	}
	object := func(n uint64) (any, error) {
		m := map[string]any{}
		for range n {
			k, err := decode(r)
			if err != nil {
				return nil, err
			}
			if m[fmt.Sprint(k)], err = decode(r); err != nil {
				return nil, err
			}
		}
		return m, err
	}
	switch {
	case head < 0x80:
		return int(head), nil
	case head < 0x90:
		return object(uint64(head & 0x0f))
	case head < 0xa0:
		return array(uint64(head & 0x0f))
	case head < 0xc0:
		return text(uint64(head & 0x1f))
	}
	switch head {
	case 0xc0:
		return nil, nil
	case 0xc2, 0xc3:
		return head == 0xc3, nil
	case 0xc4, 0xd9:
		return text(number(1))
	case 0xc5, 0xda:
		return text(number(2))
	case 0xc6, 0xdb:
		return text(number(4))
	case 0xcb:
		return math.Float64frombits(number(8)), err
	case 0xcc, 0xd0:
		return number(1), err
	case 0xcd, 0xd1:
		return number(2), err
	case 0xce, 0xd2:
		return number(4), err
	case 0xcf, 0xd3:
		return number(8), err
	case 0xd7: // an EventTime
		number(1)
		return number(8), err
	case 0xdc:
		return array(number(2))
	case 0xdd:
		return array(number(4))
	case 0xde:
		return object(number(2))
	case 0xdf:
		return object(number(4))
	}
	return nil, fmt.Errorf("byte %#x", head)
}
