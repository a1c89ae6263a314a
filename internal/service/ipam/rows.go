package ipam

import (
	"fmt"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// chunk is how many addresses go into one IN list.
const chunk = 500

// CreateSubnet writes the rows that address management keeps for a new subnet.
func CreateSubnet(tx *store.Tx, s *model.Subnet) error {
	if _, err := tx.Exec("INSERT INTO ipamsubnets (id, neutron_subnet_id) VALUES (?, ?)", s.ID, s.ID); err != nil {
		return fmt.Errorf("insert into ipamsubnets: %w", err)
	}
	return insertPools(tx, s.ID, s.AllocationPools)
}

func insertPools(tx *store.Tx, ipamID string, pools []model.Pool) error {
	var rows [][]any
	for _, p := range pools {
		rows = append(rows, []any{uuid.NewString(), ipamID, p.Start, p.End})
	}
	return tx.InsertRows("ipamallocationpools", []string{"id", "ipam_subnet_id", "first_ip", "last_ip"}, rows)
}

// UpdatePools replaces the pools of a subnet. Addresses that were given stay given.
func UpdatePools(tx *store.Tx, s *model.Subnet) error {
	x := &Subnet{ID: s.ID}
	if err := find(tx, []*Subnet{x}); err != nil {
		return err
	}
	if x.ipamID == "" {
		return fmt.Errorf("subnet %s has no row in ipamsubnets", s.ID)
	}
	if _, err := tx.Exec("DELETE FROM ipamallocationpools WHERE ipam_subnet_id = ?", x.ipamID); err != nil {
		return fmt.Errorf("delete allocation pools: %w", err)
	}
	return insertPools(tx, x.ipamID, s.AllocationPools)
}

// DeleteSubnets removes what address management keeps for subnets, their allocations included.
func DeleteSubnets(tx *store.Tx, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	in := resource.In("neutron_subnet_id", ids)
	if _, err := tx.Exec("DELETE FROM ipamsubnets WHERE "+in.SQL, in.Args...); err != nil {
		return fmt.Errorf("delete from ipamsubnets: %w", err)
	}
	return nil
}

// Record writes which ports have which addresses, once the ports are stored. A subnet that was deleted meanwhile makes
// the transaction start again.
func Record(tx *store.Tx, ports ...*model.Port) error {
	var rows [][]any
	for _, p := range ports {
		for _, f := range p.FixedIPs {
			rows = append(rows, []any{p.ID, f.IPAddress, f.SubnetID, p.NetworkID})
		}
	}
	err := tx.InsertRows("ipallocations", []string{"port_id", "ip_address", "subnet_id", "network_id"}, rows)
	if store.IsForeignKey(err) || store.IsDuplicate(err) {
		return store.Retry(err)
	}
	return err
}

// allocate takes addresses. Somebody else may have been faster: then the transaction starts again.
func allocate(tx *store.Tx, rows [][]any) error {
	err := tx.InsertRows("ipamallocations", []string{"ip_address", "status", "ipam_subnet_id"}, rows)
	if store.IsDuplicate(err) || store.IsForeignKey(err) {
		return store.Retry(err)
	}
	return err
}

// Release gives addresses back; those of subnets that are gone went with them. Records in ipallocations go with their
// ports; Forget removes them before.
func Release(tx *store.Tx, ips []model.FixedIP) error {
	bySubnet := map[string][]string{}
	var subnets []*Subnet
	for _, f := range ips {
		if bySubnet[f.SubnetID] == nil {
			subnets = append(subnets, &Subnet{ID: f.SubnetID})
		}
		bySubnet[f.SubnetID] = append(bySubnet[f.SubnetID], f.IPAddress)
	}
	if err := find(tx, subnets); err != nil {
		return err
	}
	for _, s := range subnets {
		for part := range slices.Chunk(bySubnet[s.ID], chunk) {
			in := resource.In("ip_address", part)
			_, err := tx.Exec("DELETE FROM ipamallocations WHERE "+in.SQL+" AND ipam_subnet_id = ?", append(in.Args, s.ipamID)...)
			if err != nil {
				return fmt.Errorf("release addresses: %w", err)
			}
		}
	}
	return nil
}

// Forget removes the records that a port has these addresses.
func Forget(tx *store.Tx, networkID string, ips []model.FixedIP) error {
	for _, f := range ips {
		_, err := tx.Exec("DELETE FROM ipallocations WHERE ip_address = ? AND subnet_id = ? AND network_id = ?",
			f.IPAddress, f.SubnetID, networkID)
		if err != nil {
			return fmt.Errorf("release %s: %w", f.IPAddress, err)
		}
	}
	return nil
}
