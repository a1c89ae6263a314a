package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// Nova answers the metadata agent as Nova's metadata API does: it believes what the headers say about the instance if
// the signature is right (nova/api/metadata/handler.py).
type Nova struct {
	secret string

	mu      sync.Mutex
	refused int
}

// Nova starts the service in the node at the address.
func (n *Node) Nova(address, secret string) *Nova {
	n.lab.T.Helper()
	nova := &Nova{secret: secret}
	server := &http.Server{Handler: nova}
	listener := n.Listen(address)
	go func() { _ = server.Serve(listener) }()
	n.lab.T.Cleanup(func() { _ = server.Close() })
	return nova
}

// Refused is the number of requests with a wrong signature.
func (n *Nova) Refused() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refused
}

func (n *Nova) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	instance := r.Header.Get("X-Instance-ID")
	mac := hmac.New(sha256.New, []byte(n.secret))
	mac.Write([]byte(instance))
	signature, err := hex.DecodeString(r.Header.Get("X-Instance-ID-Signature"))
	if err != nil || instance == "" || !hmac.Equal(signature, mac.Sum(nil)) {
		n.mu.Lock()
		n.refused++
		n.mu.Unlock()
		http.Error(w, "Invalid proxy request signature.", http.StatusForbidden)
		return
	}
	address, _, _ := net.SplitHostPort(r.Header.Get("X-Forwarded-For"))
	if address == "" {
		address = r.Header.Get("X-Forwarded-For")
	}
	switch r.URL.Path {
	case "/latest/meta-data/instance-id":
		fmt.Fprint(w, instance)
	case "/latest/meta-data/local-ipv4":
		fmt.Fprint(w, address)
	case "/openstack/latest/meta_data.json":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"uuid": instance, "project_id": r.Header.Get("X-Tenant-ID")})
	default:
		http.NotFound(w, r)
	}
}
