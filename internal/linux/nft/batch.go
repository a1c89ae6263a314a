package nft

import "github.com/google/nftables"

// Batch sends what collect gathers as one transaction, by netlink and in the network namespace of the calling thread.
func Batch(collect func(*nftables.Conn) error) error {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	// The kernel closes a connection only when it has freed what transactions replaced, and it waits for all processors
	// before that (nft_rcv_nl_event in net/netfilter/nf_tables_api.c): 5 to 20 ms, in which the change is made already.
	defer func() { go conn.CloseLasting() }()
	if err := collect(conn); err != nil {
		return err
	}
	return conn.Flush()
}
