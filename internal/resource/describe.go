package resource

// Row describes one attribute for people.
type Row struct {
	Name    string
	Type    string
	Ext     string // alias of the extension that brings it, "" = always there
	Flags   Flags
	Default string // as JSON, "" = none: what happens then is the service's matter
}

// Describe lists the attributes in the order of the table.
func (r *engine[P]) Describe() []Row {
	rows := make([]Row, len(r.Attrs))
	for i, a := range r.Attrs {
		rows[i] = Row{Name: a.Name, Type: a.Type, Ext: a.Ext, Flags: a.Flags}
		if a.def != nil {
			obj := r.create()
			a.def(obj)
			rows[i].Default = string(a.enc(nil, obj))
		}
	}
	return rows
}
