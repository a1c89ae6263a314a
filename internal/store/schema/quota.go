package schema

// quotaTables are quotas.
func quotaTables() []Table {
	return []Table{
		table("quotas",
			id(),
			project(),
			text("resource", 255).null(),
			integer("limit").null(),
			unique("uniq_quotas0project_id0resource", "project_id", "resource"),
		),
		table("quotausages",
			text("project_id", 255),
			text("resource", 255),
			boolean("dirty").or("0"),
			integer("in_use").or("0"),
			integer("reserved").or("0"),
			primaryKey("project_id", "resource"),
		),
		table("reservations",
			id(),
			text("project_id", 255).null(),
			datetime("expiration").null(),
		),
		table("resourcedeltas",
			text("resource", 255),
			uuid("reservation_id").refers("reservations.id", Cascade),
			integer("amount").null(),
			primaryKey("resource", "reservation_id"),
		),
	}
}
