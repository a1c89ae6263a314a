package flavor

import (
	"fmt"

	"neutrino/internal/fault"
	"neutrino/internal/store"
)

// Bind gives a flavor a service profile.
func (s *Service) Bind(tx *store.Tx, flavorID, profileID string) error {
	if _, err := s.catalog.Flavors.Get(tx, nil, flavorID, 0); err != nil {
		return err
	}
	if _, err := s.catalog.ServiceProfiles.Get(tx, nil, profileID, 0); err != nil {
		return err
	}
	n, err := tx.Exec(tx.Dialect().InsertIgnore("flavorserviceprofilebindings", "service_profile_id", "flavor_id"), profileID, flavorID)
	if err != nil {
		return fmt.Errorf("bind profile %s to flavor %s: %w", profileID, flavorID, err)
	}
	if n == 0 {
		return fault.Conflict("FlavorServiceProfileBindingExists", "Service Profile %s is already associated with flavor %s.", profileID, flavorID)
	}
	return nil
}

// Unbind takes a service profile from a flavor.
func (s *Service) Unbind(tx *store.Tx, flavorID, profileID string) error {
	n, err := tx.Exec("DELETE FROM flavorserviceprofilebindings WHERE flavor_id = ? AND service_profile_id = ?", flavorID, profileID)
	if err != nil {
		return fmt.Errorf("unbind profile %s from flavor %s: %w", profileID, flavorID, err)
	}
	if n == 0 {
		return notAssociated(flavorID, profileID)
	}
	return nil
}

// Bound refuses if the flavor does not have the service profile.
func (s *Service) Bound(tx *store.Tx, flavorID, profileID string) error {
	n, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM flavorserviceprofilebindings WHERE flavor_id = ? AND service_profile_id = ?",
		flavorID, profileID))
	if err != nil {
		return fmt.Errorf("read profile %s of flavor %s: %w", profileID, flavorID, err)
	}
	if n == 0 {
		return notAssociated(flavorID, profileID)
	}
	return nil
}

func notAssociated(flavorID, profileID string) error {
	return fault.NotFound("FlavorServiceProfileBindingNotFound", "Service Profile %s is not associated with flavor %s.", profileID, flavorID)
}

// NextProvider is who provides the service for a flavor: the provider with the driver of its first profile.
func (s *Service) NextProvider(tx *store.Tx, flavorID string) (*Provider, error) {
	if _, err := s.catalog.Flavors.Get(tx, nil, flavorID, 0); err != nil {
		return nil, err
	}
	id, found, err := store.One[string](tx.QueryRow("SELECT service_profile_id FROM flavorserviceprofilebindings WHERE flavor_id = ? "+
		"ORDER BY service_profile_id LIMIT 1", flavorID))
	if err != nil {
		return nil, fmt.Errorf("read profiles of flavor %s: %w", flavorID, err)
	}
	if !found {
		return nil, notAssociated(flavorID, "")
	}
	profiles := s.catalog.ServiceProfiles
	profile, err := profiles.Get(tx, nil, id, profiles.All)
	if err != nil {
		return nil, err
	}
	if !profile.Enabled {
		return nil, fault.Unavailable("ServiceProfileDisabled", "Service Profile is not enabled.")
	}
	p := s.providerOf(profile.Driver)
	if p == nil {
		return nil, driverNotFound(profile.Driver)
	}
	return p, nil
}
