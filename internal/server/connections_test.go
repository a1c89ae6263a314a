package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// dial opens a connection to the API.
func (e *env) dial() net.Conn {
	e.Helper()
	c, err := net.Dial("tcp", e.server.APIAddress().String())
	if err != nil {
		e.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(slowest)); err != nil {
		e.Fatal(err)
	}
	return c
}

// TestConnections sends what no HTTP library sends, byte by byte; all of it is sent before the answer is read.
func TestConnections(t *testing.T) {
	e := start(t)
	defer e.end()
	post := func(path, headers, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body
	}
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	network := `{"network":{"name":"n"}}`
	big := strings.Repeat(" ", 10<<20)
	for name, c := range map[string]struct {
		send string
		want []int
	}{
		"HTTP/1.0":                  {"GET /v2.0/networks HTTP/1.0\r\n\r\n", []int{200}},
		"pipelined":                 {strings.Repeat("GET /v2.0/networks HTTP/1.1\r\nHost: x\r\n\r\n", 20), slicesOf(200, 20)},
		"pipelined after a body":    {post("/v2.0/networks", length(len(network)), network) + "GET /v2.0/networks HTTP/1.1\r\nHost: x\r\n\r\n", []int{201, 200}},
		"expect":                    {post("/v2.0/networks", "Expect: 100-continue\r\n"+length(len(network)), network), []int{100, 201}},
		"chunked":                   {post("/v2.0/networks", "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(network), network)), []int{201}},
		"chunks that are none":      {post("/v2.0/networks", "Transfer-Encoding: chunked\r\n", "zz\r\n"+network+"\r\n0\r\n\r\n"), []int{400}},
		"shorter than it says":      {post("/v2.0/networks", length(len(network)-1), network), []int{400}},
		"two lengths":               {post("/v2.0/networks", length(2)+length(3), network), []int{400}},
		"no length":                 {post("/v2.0/networks", "", ""), []int{400}},
		"too long":                  {post("/v2.0/networks", length(len(big)), big), []int{413}},
		"too long, chunked":         {post("/v2.0/networks", "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(big), big)), []int{413}},
		"too long, no such path":    {post("/v2.0/nothing", length(len(big)), big), []int{404}},
		"too long, no such method":  {"PATCH" + post("/v2.0/networks", length(len(big)), big)[4:], []int{405}},
		"too long, at the root":     {post("/", length(len(big)), big), []int{405}},
		"a long path":               {"GET /v2.0/networks/" + strings.Repeat("x", 50_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		"too long a path":           {"GET /v2.0/networks/" + strings.Repeat("x", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}},
		"headers without end":       {"GET /v2.0/networks HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 20_000), []int{431}},
		"bytes in the path":         {"GET /v2.0/networks/\xff HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		"bytes at the root":         {"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		"NUL in the path":           {"GET /v2.0/networks/%00 HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		"bytes in the query":        {"GET /v2.0/networks?name=\xff HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		"bytes in the root's query": {"GET /?name=%ff HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		"bytes in headers":          {"GET /v2.0/networks HTTP/1.1\r\nHost: x\r\nX-User-Id: \xff\xfe\r\nX-Roles: \xff\r\nIf-Match: \xff\r\nAccept: \xff\r\nX-Openstack-Request-Id: \xff\r\n\r\n", []int{200}},
		"bytes of the project":      {post("/v2.0/networks", "X-Project-Id: \xff\xfe\r\n"+length(len(network)), network), []int{400}},
		"an odd method":             {"FOO /v2.0/networks HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		"no request":                {"\x00\x01\x02\xff\r\n\r\n", []int{400}},
		"TLS":                       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := e.dial()
			defer conn.Close()
			go func() { _, _ = io.WriteString(conn, c.send) }()
			in := bufio.NewReader(conn)
			for i, want := range c.want {
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("answer %d: %v", i, err)
				}
				body, err := io.ReadAll(resp.Body)
				if resp.StatusCode != want || err != nil {
					t.Fatalf("answer %d: %s, want %d: %.200s %v", i, resp.Status, want, body, err)
				}
			}
		})
	}
}

func slicesOf(n, times int) []int {
	all := make([]int, times)
	for i := range all {
		all[i] = n
	}
	return all
}

// TestManyConnections: clients that do not go on cost little memory and keep nobody else waiting.
func TestManyConnections(t *testing.T) {
	e := start(t)
	defer e.end()
	e.get("/networks", nil)
	before := inUse()
	const n = 1000
	for i := range n {
		c := e.dial()
		defer c.Close()
		_, err := io.WriteString(c, []string{"", "GET /v2.0/net", "GET /v2.0/networks HTTP/1.1\r\nHost: x\r\nX-A: ",
			"POST /v2.0/networks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", "POST /v2.0/networks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"}[i%5])
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		start := time.Now()
		network := e.post("/networks", "network", map[string]any{"name": "n"})
		if status, _ := e.do("DELETE", "/networks/"+network["id"].(string), nil); status != http.StatusNoContent {
			t.Errorf("delete: %d", status)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("another client waited %v", took)
		}
	}
	if used := inUse() - before; used > n*64<<10 {
		t.Errorf("%d connections take %d KiB each", n, used/n>>10)
	}
}

// inUse is the memory of heap and stacks in bytes.
func inUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}
