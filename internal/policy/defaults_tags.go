package policy

// tagChecks are the checks of the four rules about the tags of a resource.
type tagChecks struct {
	resource, collection        string
	create, get, update, remove string
	legacyGet, legacyWrite      string // empty: the same
}

// tagRules are the rules VERB_RESOURCE:tags. They were named VERB_COLLECTION_tags until 2024.
func tagRules() []Default {
	const (
		netWrite = projectMember + or + admin + or + networkMember
		poolGet  = adminOrReader + or + "rule:shared_subnetpools"
		groupGet = adminOrReader + or + "rule:shared_security_group"
		qosGet   = adminOrReader + or + "rule:shared_qos_policy"
	)
	var all []Default
	for _, t := range []tagChecks{
		{"network", "networks", adminOrMember, adminOrReader + or + shared + or + external + or + advsvc, adminOrMember, adminOrMember, adminOrReader, ""},
		{"network_segment_range", "network_segment_ranges", admin, admin, admin, admin, "", ""},
		{"subnet", "subnets", netWrite, projectReader + or + shared + or + externalNetwork + or + admin + or + networkReader, netWrite, netWrite, "", ""},
		{"subnetpool", "subnetpools", adminOrMember, poolGet, adminOrMember, adminOrMember, "", ""},
		{"port", "ports", adminOrMember + or + advsvc, advsvc + or + admin + or + networkReader + or + projectReader, adminOrMember + or + advsvc, advsvc + or + netWrite, "", ""},
		{"router", "routers", adminOrMember, adminOrReader, adminOrMember, adminOrMember, "", adminOrManager},
		{"floatingip", "floatingips", adminOrMember, adminOrReader, adminOrMember, adminOrMember, "", ""},
		{"security_group", "security_groups", adminOrMember, groupGet, adminOrMember, adminOrMember, "", ""},
		{"policy", "policies", adminOrManager, qosGet, adminOrManager, adminOrManager, "", ""},
		{"trunk", "trunks", adminOrMember, adminOrReader, adminOrMember, adminOrMember, "", ""},
	} {
		all = append(all,
			t.rule(Create, t.create, t.legacyWrite),
			t.rule(Get, t.get, t.legacyGet),
			t.rule(Update, t.update, t.legacyWrite),
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
