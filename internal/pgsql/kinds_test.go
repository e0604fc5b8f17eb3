package pgsql

import (
	"slices"
	"strings"
)

// kindsOf returns the kinds that a statement may have which the grammar takes
// for a node of the given type and fields. A type nobody thought of has none.
func kindsOf(node string, fields map[string]any) []string {
	if exact, ok := nodes[node]; ok {
		if has(fields, "withClause") && has(fields, "intoClause") {
			// The server refuses an INTO there.
			return append(slices.Clone(exact), "select into")
		}
		return exact
	}
	flag := func(name string) bool { b, _ := fields[name].(bool); return b }
	choose := func(cond bool, yes, no string) []string {
		if cond {
			return []string{yes}
		}
		return []string{no}
	}
	switch node {
	case "SelectStmt":
		return selectKinds(fields)
	case "TransactionStmt":
		return transactionKinds(fields["kind"], flag("chain"))
	case "VariableSetStmt":
		return setKinds(fields, flag("is_local"))
	case "CopyStmt":
		return copyKinds(fields, flag("is_from"))
	case "DeclareCursorStmt":
		options, _ := fields["options"].(float64)
		return choose(int(options)&32 != 0, "declare with hold", "declare")
	case "FetchStmt":
		return choose(flag("ismove"), "move", "fetch")
	case "GrantStmt", "GrantRoleStmt":
		return choose(flag("is_grant"), "grant", "revoke")
	case "VacuumStmt":
		return choose(flag("is_vacuumcmd"), "vacuum", "analyze")
	}
	for _, prefix := range []string{"Create", "Alter", "Drop"} {
		if strings.HasPrefix(node, prefix) {
			return []string{strings.ToLower(prefix)}
		}
	}
	return nil
}

// nodes are the types whose kinds do not depend on their fields.
var nodes = map[string][]string{
	"InsertStmt": {"insert", "with write"}, "UpdateStmt": {"update", "with write"}, "DeleteStmt": {"delete", "with write"},
	"MergeStmt": {"merge", "with write"}, "TruncateStmt": {"truncate"}, "CallStmt": {"call"}, "DoStmt": {"do"}, "LockStmt": {"lock"},
	"VariableShowStmt": {"show"}, "ClosePortalStmt": {"close"}, "PrepareStmt": {"prepare"}, "ExecuteStmt": {"execute"},
	"DeallocateStmt": {"deallocate"}, "DiscardStmt": {"discard"}, "ExplainStmt": {"explain"}, "ListenStmt": {"listen"},
	"UnlistenStmt": {"unlisten"}, "NotifyStmt": {"notify"}, "ConstraintsSetStmt": {"set constraints"}, "CommentStmt": {"comment"},
	"ClusterStmt": {"cluster"}, "ReindexStmt": {"reindex"}, "CheckPointStmt": {"checkpoint"}, "LoadStmt": {"load"},
	"RefreshMatViewStmt": {"refresh"}, "SecLabelStmt": {"security label"}, "ImportForeignSchemaStmt": {"import"},
	"ReassignOwnedStmt": {"reassign"}, "RenameStmt": {"alter"}, "ViewStmt": {"create"}, "IndexStmt": {"create"},
	"RuleStmt": {"create"}, "DefineStmt": {"create"}, "CompositeTypeStmt": {"create"}, "CreatedbStmt": {"create"},
	"DropdbStmt": {"drop"},
}

func selectKinds(fields map[string]any) []string {
	switch {
	case has(fields, "intoClause"):
		return []string{"select into"}
	case has(fields, "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
		return []string{"with write"}
	case has(fields, "lockingClause"):
		// A column of a query with WITH may be named like a command.
		return []string{"select for update", "with write"}
	case has(fields, "withClause"):
		return []string{"with", "select", "values", "table", "with write", "select for update"}
	default:
		return []string{"select", "values", "table", "select for update"}
	}
}

func transactionKinds(kind any, chain bool) []string {
	k, _ := kind.(string)
	k = strings.TrimPrefix(k, "TRANS_STMT_")
	switch k {
	case "COMMIT", "ROLLBACK":
		if chain {
			return []string{strings.ToLower(k) + " and chain"}
		}
	case "START":
		return []string{"start transaction"}
	case "PREPARE":
		return []string{"prepare transaction"}
	}
	return []string{strings.ToLower(strings.ReplaceAll(k, "_", " "))}
}

func setKinds(fields map[string]any, local bool) []string {
	name, _ := fields["name"].(string)
	kind, _ := fields["kind"].(string)
	switch kind {
	case "VAR_RESET":
		return []string{"reset"}
	case "VAR_RESET_ALL":
		return []string{"reset all"}
	case "VAR_SET_MULTI":
		switch name {
		case "TRANSACTION":
			return []string{"set transaction"}
		case "SESSION CHARACTERISTICS":
			return []string{"set session characteristics"}
		case "TRANSACTION SNAPSHOT":
			return []string{"set transaction snapshot"}
		}
		return nil
	case "VAR_SET_VALUE", "VAR_SET_DEFAULT":
		switch {
		case strings.EqualFold(name, "role"):
			return []string{"set role"}
		case strings.EqualFold(name, "session_authorization"):
			return []string{"set session authorization"}
		case local:
			return []string{"set local"}
		}
		return []string{"set"}
	default:
		return nil
	}
}

func copyKinds(fields map[string]any, from bool) []string {
	_, file := fields["filename"]
	_, query := fields["query"]
	switch {
	case file:
		return []string{"copy file"}
	case from:
		return []string{"copy from stdin"}
	case query && has(fields["query"], "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "lockingClause", "intoClause"):
		return []string{"copy write to stdout"}
	case query:
		return []string{"copy to stdout", "copy write to stdout"}
	default:
		return []string{"copy to stdout"}
	}
}
