package segmentrange

import (
	"fmt"
	"net/http"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/service/ml2"
)

// checkBounds refuses ids that the network type does not have. Upstream does not give these errors a status of the
// caller's, so they are 500 (neutron-lib plugins/utils.py).
func checkBounds(r *model.NetworkSegmentRange) error {
	class, format, kind := "NetworkTunnelRangeError", "Invalid network tunnel range: '%d:%d' - %s.", "tunnel"
	invalid := "%d is not a valid " + r.NetworkType + " identifier"
	if r.NetworkType == "vlan" {
		class, format, kind = "NetworkVlanRangeError", "Invalid network VLAN range: '%d:%d' - '%s'.", "VLAN"
		invalid = "%d is not a valid VLAN tag"
	}
	reason := ""
	for _, id := range []int{r.Minimum, r.Maximum} {
		if id > ml2.MaxSegmentationID(r.NetworkType) && reason == "" {
			reason = fmt.Sprintf(invalid, id)
		}
	}
	if reason == "" && r.Maximum < r.Minimum {
		reason = "End of " + kind + " range is less than start of " + kind + " range"
	}
	if reason == "" {
		return nil
	}
	return fault.New(http.StatusInternalServerError, class, format, r.Minimum, r.Maximum, reason)
}
