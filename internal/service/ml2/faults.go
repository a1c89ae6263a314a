package ml2

import (
	"fmt"

	"neutrino/internal/fault"
)

// Errors that several files raise. Messages are upstream's.

func noNetworkAvailable() error {
	return fault.Unavailable("NoNetworkAvailable", "Unable to create the network. No project network is available for allocation.")
}

// badRequest is upstream's BadRequest, whose message names the collection.
func badRequest(collection, format string, args ...any) error {
	return fault.BadRequest("BadRequest", "Bad %s request: %s.", collection, fmt.Sprintf(format, args...))
}

func subnetInUse(id string) error {
	return fault.Conflict("SubnetInUse", "Unable to complete operation on subnet %s: One or more ports have an IP allocation "+
		"from this subnet.", id)
}

func mtuConflict(networkID string, minimum int) error {
	return fault.Conflict("NetworkMTUSubnetConflict", "MTU of %s is not valid, subnet requires a minimum of %d", networkID, minimum)
}
