package ovs

import (
	"maps"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// Copies of rows, which libovsdb makes by way of JSON else: a picture of a thousand ports took 20 ms.

// CloneModel implements model.CloneableModel.
func (s *System) CloneModel() model.Model { return copied(s, s.CloneModelInto) }

// CloneModelInto implements model.CloneableModel.
func (s *System) CloneModelInto(to model.Model) {
	c := to.(*System)
	*c = *s
	c.Bridges, c.DatapathTypes, c.IfaceTypes, c.Version = slices.Clone(s.Bridges), slices.Clone(s.DatapathTypes), slices.Clone(s.IfaceTypes), pointer(s.Version)
}

// CloneModel implements model.CloneableModel.
func (b *Bridge) CloneModel() model.Model { return copied(b, b.CloneModelInto) }

// CloneModelInto implements model.CloneableModel.
func (b *Bridge) CloneModelInto(to model.Model) {
	c := to.(*Bridge)
	*c = *b
	c.Ports, c.FailMode, c.Protocols, c.ExternalIDs = slices.Clone(b.Ports), pointer(b.FailMode), slices.Clone(b.Protocols), maps.Clone(b.ExternalIDs)
}

// CloneModel implements model.CloneableModel.
func (p *Port) CloneModel() model.Model { return copied(p, p.CloneModelInto) }

// CloneModelInto implements model.CloneableModel.
func (p *Port) CloneModelInto(to model.Model) {
	c := to.(*Port)
	*c = *p
	c.Interfaces, c.Tag, c.VLANMode, c.Trunks = slices.Clone(p.Interfaces), pointer(p.Tag), pointer(p.VLANMode), slices.Clone(p.Trunks)
	c.OtherConfig, c.ExternalIDs = maps.Clone(p.OtherConfig), maps.Clone(p.ExternalIDs)
}

// CloneModel implements model.CloneableModel.
func (i *Interface) CloneModel() model.Model { return copied(i, i.CloneModelInto) }

// CloneModelInto implements model.CloneableModel.
func (i *Interface) CloneModelInto(to model.Model) {
	c := to.(*Interface)
	*c = *i
	c.OFPort, c.Options, c.ExternalIDs = pointer(i.OFPort), maps.Clone(i.Options), maps.Clone(i.ExternalIDs)
}

func copied[T any](_ *T, into func(model.Model)) model.Model {
	c := new(T)
	into(c)
	return c
}

func pointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
