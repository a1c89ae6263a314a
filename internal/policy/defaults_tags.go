package policy

// tagChecks are the checks of the four rules about the tags of a resource.
type tagChecks struct {
	resource, collection    string
	read, write             string
	remove                  string // empty: write
	legacyRead, legacyWrite string // empty: the same
}

// tagRules are the rules VERB_RESOURCE:tags. They were named VERB_COLLECTION_tags until 2024.
func tagRules() []Default {
	const ofNetwork = projectMember + or + admin + or + networkMember
	var all []Default
	for _, t := range []tagChecks{
		{
			resource: "network", collection: "networks",
			read:  adminOrReader + or + shared + or + external + or + advsvc,
			write: adminOrMember, legacyRead: adminOrReader,
		},
		{resource: "network_segment_range", collection: "network_segment_ranges", read: admin, write: admin},
		{
			resource: "subnet", collection: "subnets",
			read:  projectReader + or + shared + or + externalNetwork + or + admin + or + networkReader,
			write: ofNetwork,
		},
		{
			resource: "subnetpool", collection: "subnetpools",
			read: adminOrReader + or + "rule:shared_subnetpools", write: adminOrMember,
		},
		{
			resource: "port", collection: "ports",
			read:  advsvc + or + admin + or + networkReader + or + projectReader,
			write: adminOrMember + or + advsvc, remove: advsvc + or + ofNetwork,
		},
		{resource: "router", collection: "routers", read: adminOrReader, write: adminOrMember, legacyWrite: adminOrManager},
		{resource: "floatingip", collection: "floatingips", read: adminOrReader, write: adminOrMember},
		{
			resource: "security_group", collection: "security_groups",
			read: adminOrReader + or + "rule:shared_security_group", write: adminOrMember,
		},
		{
			resource: "policy", collection: "policies",
			read: adminOrReader + or + "rule:shared_qos_policy", write: adminOrManager,
		},
		{resource: "trunk", collection: "trunks", read: adminOrReader, write: adminOrMember},
	} {
		if t.remove == "" {
			t.remove = t.write
		}
		all = append(all,
			t.rule(Create, t.write, t.legacyWrite),
			t.rule(Get, t.read, t.legacyRead),
			t.rule(Update, t.write, t.legacyWrite),
			t.rule(Delete, t.remove, t.legacyWrite),
		)
	}
	return all
}

func (t tagChecks) rule(verb Verb, check, legacy string) Default {
	return Default{
		Name:    string(verb) + "_" + t.resource + ":tags",
		Check:   check,
		Legacy:  legacy,
		OldName: string(verb) + "_" + t.collection + "_tags",
	}
}
