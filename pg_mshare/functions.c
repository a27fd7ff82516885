/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The SQL interface.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lockdefs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg_mshare.h"

PG_FUNCTION_INFO_V1(pg_mshare_status);
PG_FUNCTION_INFO_V1(pg_mshare_closings);
PG_FUNCTION_INFO_V1(pg_mshare_flip);
PG_FUNCTION_INFO_V1(pg_mshare_protect);
PG_FUNCTION_INFO_V1(pg_mshare_ranges);
PG_FUNCTION_INFO_V1(pg_mshare_freeze);
PG_FUNCTION_INFO_V1(pg_mshare_thaw);
PG_FUNCTION_INFO_V1(pg_mshare_backends);
PG_FUNCTION_INFO_V1(pg_mshare_protect_relation);
PG_FUNCTION_INFO_V1(pg_mshare_watch);
PG_FUNCTION_INFO_V1(pg_mshare_faults);
PG_FUNCTION_INFO_V1(pg_mshare_size);
PG_FUNCTION_INFO_V1(pg_mshare_resize);

static void
check_preloaded(void)
{
	if (!mshare_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_mshare must be loaded via shared_preload_libraries"),
				 errhint("Add pg_mshare to shared_preload_libraries and restart the server.")));
}

/* For functions that have nothing to work on without the pool */
static void
check_provider(void)
{
	check_preloaded();
	if (provider == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_mshare is off"),
				 IsPostmasterEnvironment ?
				 errhint("Set pg_mshare.provider to auto and restart the server.") :
				 errhint("A single-user server has no process that could end a closing. Start the server with a postmaster.")));
}

/* ----------
 * What /proc knows of a process
 * ----------
 */

/* The "Name:  number kB" of /proc/PID/status in bytes, -1: unreadable */
static int64
proc_status_bytes(int pid, const char *name)
{
	char		path[64];
	char		line[256];
	FILE	   *file;
	int64		bytes = -1;
	size_t		length = strlen(name);

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	if (file == NULL)
		return -1;
	while (bytes < 0 && fgets(line, sizeof(line), file) != NULL)
	{
		if (strncmp(line, name, length) == 0 && line[length] == ':')
			bytes = strtoll(line + length + 1, NULL, 10) * 1024;
	}
	fclose(file);
	return bytes;
}

/* Minor faults from /proc/PID/stat, -1: unreadable */
static int64
proc_minor_faults(int pid)
{
	char		path[64];
	char		line[1024];
	FILE	   *file;
	int64		faults = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (file == NULL)
		return -1;
	if (fgets(line, sizeof(line), file) != NULL)
	{
		/* The command in parentheses may hold anything. */
		char	   *rest = strrchr(line, ')');

		if (rest == NULL ||
			sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u " INT64_FORMAT, &faults) != 1)
			faults = -1;
	}
	fclose(file);
	return faults;
}

/* The inode of what a process maps at the pool's address, 0: nothing, -1: unreadable */
static int64
proc_pool_inode(int pid)
{
	char		path[64];
	char		line[PATH_MAX + 128];
	FILE	   *file;
	int64		found = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "r");
	if (file == NULL)
		return -1;
	while (found == 0 && fgets(line, sizeof(line), file) != NULL)
	{
		unsigned long from;
		unsigned long to;
		unsigned long inode;

		if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &from, &to, &inode) == 3 &&
			from <= (uintptr_t) pool_base && (uintptr_t) pool_base < to)
			found = inode;
	}
	fclose(file);
	return found;
}

/*
 * What a process without an entry among the backends calls itself in its title,
 * "postgres: logger " for example.  Returns palloc'd memory or NULL.
 */
static char *
proc_title(int pid)
{
	char		path[64];
	char		line[256];
	FILE	   *file;
	char	   *title = NULL;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	file = fopen(path, "r");
	if (file == NULL)
		return NULL;
	if (fgets(line, sizeof(line), file) != NULL)
	{
		char	   *prefix = *cluster_name ?
			psprintf("postgres: %s: ", cluster_name) : "postgres: ";
		size_t		length = strlen(prefix);

		title = pstrdup(strncmp(line, prefix, length) == 0 ? line + length : line);
		length = strlen(title);
		while (length > 0 && title[length - 1] == ' ')
			title[--length] = '\0';
	}
	fclose(file);
	return title;
}

/* Returns NULL where it is not known. */
static const char *
process_type(int pid)
{
	BackendType type = process_backend_type(pid);

	if (pid == PostmasterPid)
		return "postmaster";
	if (type != B_INVALID)
		return GetBackendTypeDesc(type);
	return proc_title(pid);
}

/* ----------
 * Arguments and results
 * ----------
 */

static PoolProtection
get_protection(FunctionCallInfo fcinfo, int arg)
{
	char	   *word = text_to_cstring(PG_GETARG_TEXT_PP(arg));

	for (PoolProtection protection = POOL_NONE; protection <= POOL_READWRITE; protection++)
	{
		if (strcmp(word, protection_name(protection)) == 0)
			return protection;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized protection \"%s\"", word),
			 errhint("Protections are \"rw\", \"r\" and \"none\".")));
}

/* Arguments (protection, first_buffer, buffers) at the given positions */
static PoolRange
get_range(FunctionCallInfo fcinfo, int protection, int first, int count)
{
	PoolRange	range;
	int			unit = Max(pool_page_size / BLCKSZ, 1);
	int			end;

	if (PG_ARGISNULL(protection) || PG_ARGISNULL(first))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("protection and first_buffer must not be null")));
	range.protection = get_protection(fcinfo, protection);
	range.first = PG_GETARG_INT32(first) - 1;
	if (range.first < 0 || range.first >= NBuffers)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("first_buffer must be between 1 and %d", NBuffers),
				 errhint("Buffers are numbered as in pg_buffercache.")));
	range.count = PG_ARGISNULL(count) ? NBuffers - range.first : PG_GETARG_INT32(count);
	if (range.count < 1 || range.count > NBuffers - range.first)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("buffers must be between 1 and %d with that first_buffer",
						NBuffers - range.first),
				 errhint("Leave it out for all buffers from first_buffer on.")));

	end = range.first + range.count;
	if (range.first % unit != 0 || (end % unit != 0 && end != NBuffers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a range must consist of whole huge pages"),
				 errhint("With huge pages a range begins at buffer 1 + n * %d and has a multiple of %d buffers.",
						 unit, unit)));
	return range;
}

/* An interval in microseconds, at least "least" and within freeze_timeout */
static int64
get_closed_time(FunctionCallInfo fcinfo, int arg, const char *name, int64 least)
{
	Interval   *interval = PG_GETARG_INTERVAL_P(arg);
	int64		limit = mshare_freeze_timeout * INT64CONST(1000);

	if (interval->month != 0 || interval->day != 0 ||
		interval->time < least || interval->time > limit)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d ms and pg_mshare.freeze_timeout (%d ms)",
						name, (int) (least / 1000), mshare_freeze_timeout),
				 errhint("For longer ones raise pg_mshare.freeze_timeout, up to 60 s, and reload the configuration.")));
	return interval->time;
}

/* How many processes a flip reached; the region knows for its own. */
static int
flip_processes(const FlipResult *result)
{
	ProviderUsage usage;

	if (result->processes > 0)
		return result->processes;
	provider->usage(&usage);
	return usage.processes;
}

static int64
range_bytes(const PoolRange *range)
{
	Size		offset;
	Size		size;

	pool_range_bytes(range, &offset, &size);
	return size;
}

static TupleDesc
result_type(FunctionCallInfo fcinfo)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function returning record called in context that cannot accept type record")));
	return BlessTupleDesc(tupdesc);
}

static Datum
result_row(TupleDesc tupdesc, Datum *values, bool *nulls)
{
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

/*
 * Before a closing in which reads from disk fail: whoever has to read then, however
 * little he has to do with it, gets an error.
 */
static void
warn_of_reads(void)
{
	int64		reads;

	if (mshare_kernel_waits == KERNEL_WAITS_ALL)
		return;
	reads = counters_reads_since();
	if (reads > 0)
		ereport(WARNING,
				(errmsg("reads from disk fail while the buffer pool is closed, and there will be some"),
				 errdetail_plural("At least %lld block was read since the last closing: the pool is smaller than what is read.",
								  "At least %lld blocks were read since the last closing: the pool is smaller than what is read.",
								  reads, (long long) reads),
				 errhint("Raise shared_buffers, or have reads wait: pg_mshare.kernel_waits. Should SQL fail, \"pg_mshare_ctl thaw\" reopens the pool.")));
}

/* ----------
 * Functions
 * ----------
 */

Datum
pg_mshare_flip(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_type(fcinfo);
	Datum		values[5];
	bool		nulls[5] = {false};
	PoolRange	range;
	int64		hold_us;
	FlipResult	down;
	FlipResult	up;

	check_provider();
	range = get_range(fcinfo, 0, 2, 3);
	if (range.protection == POOL_READWRITE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pg_mshare_flip() closes buffers: its protection cannot be \"rw\""),
				 errhint("Use \"r\" or \"none\".")));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("hold must not be null")));
	hold_us = get_closed_time(fcinfo, 1, "hold", 0);

	warn_of_reads();
	closing_flip(&range, hold_us, &down, &up);

	values[0] = CStringGetTextDatum(provider->name);
	values[1] = Int64GetDatum(range_bytes(&range));
	values[2] = Int32GetDatum(flip_processes(&down));
	values[3] = Float8GetDatum(down.elapsed_us);
	values[4] = Float8GetDatum(up.elapsed_us);
	return result_row(tupdesc, values, nulls);
}

Datum
pg_mshare_protect(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_type(fcinfo);
	Datum		values[4];
	bool		nulls[4] = {false};
	PoolRange	range;
	FlipResult	result;

	check_provider();
	range = get_range(fcinfo, 0, 1, 2);

	closing_protect(&range, 1, &result);

	values[0] = CStringGetTextDatum(provider->name);
	values[1] = Int64GetDatum(range_bytes(&range));
	values[2] = Int32GetDatum(flip_processes(&result));
	values[3] = Float8GetDatum(result.elapsed_us);
	return result_row(tupdesc, values, nulls);
}

/*
 * What the files of a relation, its indexes, its TOAST table and that one's index are
 * named by, in palloc'd memory: buffers know relations by these.
 */
static BufferTag *
relation_tags(Relation relation, int *ntags)
{
	List	   *oids = list_make1_oid(RelationGetRelid(relation));
	BufferTag  *tags;
	ListCell   *cell;

	if (relation->rd_rel->relkind == RELKIND_RELATION ||
		relation->rd_rel->relkind == RELKIND_MATVIEW)
		oids = list_concat(oids, RelationGetIndexList(relation));
	if (OidIsValid(relation->rd_rel->reltoastrelid))
	{
		Relation	toast = relation_open(relation->rd_rel->reltoastrelid, AccessShareLock);

		oids = lappend_oid(oids, RelationGetRelid(toast));
		oids = list_concat(oids, RelationGetIndexList(toast));
		relation_close(toast, AccessShareLock);
	}

	tags = palloc0(list_length(oids) * sizeof(BufferTag));
	*ntags = 0;
	foreach(cell, oids)
	{
		Relation	part = relation_open(lfirst_oid(cell), AccessShareLock);

		buftag_set_relation(&tags[(*ntags)++], part);
		relation_close(part, AccessShareLock);
	}
	return tags;
}

static bool
buffer_is_of(const BufferDesc *header, const BufferTag *tags, int ntags)
{
	for (int i = 0; i < ntags; i++)
	{
		if (buftag_relfilenode(&header->tag) == buftag_relfilenode(&tags[i]) &&
			buftag_database(&header->tag) == buftag_database(&tags[i]) &&
			buftag_tablespace(&header->tag) == buftag_tablespace(&tags[i]))
			return true;
	}
	return false;
}

/*
 * The ranges of buffers that hold blocks of a relation now, and of what belongs to it,
 * in palloc'd memory; not many more than there can be.
 */
static PoolRange *
relation_ranges(Relation relation, PoolProtection protection, int *nranges,
				int *buffers)
{
	int			limit = pool_ranges_limit();
	PoolRange  *ranges = palloc((limit + 1) * sizeof(PoolRange));
	PoolRange  *last = NULL;
	int			ntags;
	BufferTag  *tags = relation_tags(relation, &ntags);

	*nranges = *buffers = 0;
	for (int buffer = 0; buffer < NBuffers && *nranges <= limit; buffer++)
	{
		BufferDesc *header = GetBufferDescriptor(buffer);
		BufferState state;
		bool		found;

		/* Most are not, and to see that takes no lock. */
		if (!buffer_is_of(header, tags, ntags))
			continue;
		state = LockBufHdr(header);
		found = (state & BM_TAG_VALID) && buffer_is_of(header, tags, ntags);
		buffer_unlock_header(header, state);
		if (!found)
			continue;

		(*buffers)++;
		if (last != NULL && last->first + last->count == buffer)
			last->count++;
		else
		{
			last = &ranges[(*nranges)++];
			*last = (PoolRange) {buffer, 1, protection};
		}
	}
	return ranges;
}

Datum
pg_mshare_protect_relation(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_type(fcinfo);
	Datum		values[6];
	bool		nulls[6] = {false};
	PoolProtection protection = get_protection(fcinfo, 1);
	FlipResult	result = {0};
	Relation	relation;
	PoolRange  *ranges;
	int			nranges;
	int			buffers;

	check_provider();
	if (pool_page_size > BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("with huge pages the buffers of one relation cannot be protected"),
				 errhint("Set %s to off, or protect ranges that consist of whole huge pages.",
						 pool_in_place ? "huge_pages" : "pg_mshare.huge_pages")));

	relation = relation_open(PG_GETARG_OID(0), AccessShareLock);
	if (!RELKIND_HAS_STORAGE(relation->rd_rel->relkind) ||
		relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation \"%s\" is not in shared buffers",
						RelationGetRelationName(relation)),
				 errdetail("It is temporary, or has no storage.")));
	ranges = relation_ranges(relation, protection, &nranges, &buffers);
	relation_close(relation, AccessShareLock);

	if (nranges > 0)
		closing_protect(ranges, nranges, &result);

	values[0] = CStringGetTextDatum(provider->name);
	values[1] = Int64GetDatum((int64) buffers * BLCKSZ);
	values[2] = Int32GetDatum(flip_processes(&result));
	values[3] = Float8GetDatum(result.elapsed_us);
	values[4] = Int32GetDatum(buffers);
	values[5] = Int32GetDatum(nranges);
	return result_row(tupdesc, values, nulls);
}

/* The relation of this database that a tag belongs to, or InvalidOid. */
static Oid
tag_relation(const BufferTag *tag)
{
	Oid			database = buftag_database(tag);

	if (database != InvalidOid && database != MyDatabaseId)
		return InvalidOid;
	return RelidByRelfilenumber(buftag_tablespace(tag), buftag_relfilenode(tag));
}

/* A granule in buffers, from one in kB */
static int
get_granule(FunctionCallInfo fcinfo, int arg)
{
	int			unit = Max(pool_page_size, BLCKSZ) / 1024;
	int			least = Max(64, unit);
	int			granule = PG_GETARG_INT32(arg);

	if (granule < least || granule > 1024 * 1024 || granule % unit != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("granule_kb must be a multiple of %d between %d and %d",
						unit, least, 1024 * 1024)));
	return granule / (BLCKSZ / 1024);
}

Datum
pg_mshare_watch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			wanted;
	int64		duration_us;
	Watch	   *watch;

	check_provider();
	if (mshare_on_fault != ON_FAULT_WAIT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("writes can be watched only if pg_mshare.on_fault is wait"),
				 errdetail("The first write would crash its process.")));
	InitMaterializedSRF(fcinfo, 0);

	wanted = get_granule(fcinfo, 1);
	duration_us = get_closed_time(fcinfo, 0, "duration", 1000);
	warn_of_reads();
	watch = watch_writes(duration_us, wanted);
	if (watch->granule > wanted)
		ereport(NOTICE,
				(errmsg("granules of %d kB were used instead of %d kB",
						watch->granule * (BLCKSZ / 1024), wanted * (BLCKSZ / 1024)),
				 errdetail("There would have been more than %d ranges of different protection.",
						   pool_ranges_limit())));
	if (watch->ended_early)
		ereport(NOTICE,
				(errmsg("the watch was ended early"),
				 errhint("The server log says why.")));

	for (int i = 0; i < watch->nwrites;)
	{
		Fault	   *write = &watch->writes[i];
		Oid			relation = write->holds_block ? tag_relation(&write->tag) : InvalidOid;
		int			granules = 0;
		int			last = -1;
		Datum		values[6];
		bool		nulls[6];

		for (; i < watch->nwrites && watch_compare_relations(write, &watch->writes[i]) == 0; i++)
		{
			int			granule = watch->writes[i].buffer / watch->granule;

			granules += granule != last;
			last = granule;
		}

		memset(nulls, !write->holds_block, sizeof(nulls));
		nulls[0] = !OidIsValid(relation);
		nulls[4] = nulls[5] = false;
		values[0] = ObjectIdGetDatum(relation);
		values[1] = ObjectIdGetDatum(buftag_database(&write->tag));
		values[2] = ObjectIdGetDatum(buftag_tablespace(&write->tag));
		values[3] = ObjectIdGetDatum(buftag_relfilenode(&write->tag));
		values[4] = Int32GetDatum(granules);
		values[5] = Int32GetDatum(watch->granule * (BLCKSZ / 1024));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
pg_mshare_faults(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	uint32		last;

	check_provider();
	InitMaterializedSRF(fcinfo, 0);

	last = fault_log_last();
	for (uint32 age = FAULT_LOG_SIZE; age-- > 0;)
	{
		Fault		fault;
		int64		waited_us;
		BackendType type;
		Datum		values[11];
		bool		nulls[11] = {false};

		if (!fault_log_read(last - age, &fault, &waited_us))
			continue;

		type = fault.backend_type;
		if (type == B_INVALID)
			type = process_backend_type(fault.pid);
		values[0] = TimestampTzGetDatum(fault.time);
		values[1] = Int32GetDatum(fault.pid);
		if (fault.pid == PostmasterPid)
			values[2] = CStringGetTextDatum("postmaster");
		else if (type != B_INVALID)
			values[2] = CStringGetTextDatum(GetBackendTypeDesc(type));
		else
			nulls[2] = true;
		values[3] = Int32GetDatum(fault.buffer + 1);
		if (fault.holds_block)
		{
			values[4] = ObjectIdGetDatum(buftag_database(&fault.tag));
			values[5] = ObjectIdGetDatum(buftag_tablespace(&fault.tag));
			values[6] = ObjectIdGetDatum(buftag_relfilenode(&fault.tag));
			values[7] = CStringGetTextDatum(forkNames[fault.tag.forkNum]);
			values[8] = Int64GetDatum(fault.tag.blockNum);
		}
		else
			memset(&nulls[4], true, 5);
		nulls[9] = fault.access == FAULT_UNKNOWN;
		values[9] = CStringGetTextDatum(fault_access_name(&fault));
		nulls[10] = waited_us < 0;
		values[10] = Int64GetDatum(waited_us);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
pg_mshare_freeze(PG_FUNCTION_ARGS)
{
	int64		timeout_us;

	check_provider();
	timeout_us = PG_ARGISNULL(0) ? mshare_freeze_timeout * INT64CONST(1000) :
		get_closed_time(fcinfo, 0, "timeout", 1000);
	warn_of_reads();
	closing_freeze(timeout_us);
	PG_RETURN_VOID();
}

Datum
pg_mshare_thaw(PG_FUNCTION_ARGS)
{
	check_provider();
	PG_RETURN_BOOL(closing_thaw());
}

/* The page tables that the server's processes have for themselves, -1: unknown */
static int64
private_page_table_bytes(void)
{
	ProcessEntry *processes;
	int			nprocesses = processes_list(&processes);
	int64		sum = 0;

	for (int i = 0; i < nprocesses; i++)
	{
		int64		bytes = proc_status_bytes(processes[i].pid, "VmPTE");

		if (bytes >= 0)
			sum += bytes;
		else if (kill(processes[i].pid, 0) == 0)
			return -1;
	}
	return sum;
}

Datum
pg_mshare_status(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_type(fcinfo);
	Datum		values[13];
	bool		nulls[13];
	PoolProtection protection;
	ProviderUsage usage;
	TimestampTz frozen_since;
	int64		private_bytes;

	check_preloaded();
	memset(nulls, true, sizeof(nulls));

#define SET(column, value) (values[column] = (value), nulls[column] = false)
	SET(3, Int32GetDatum(NBuffers));
	if (provider == NULL)
	{
		SET(0, CStringGetTextDatum("off"));
		return result_row(tupdesc, values, nulls);
	}

	provider->usage(&usage);
	frozen_since = closing_frozen_since();
	private_bytes = private_page_table_bytes();
	SET(0, CStringGetTextDatum(provider->name));
	if (has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		SET(1, CStringGetTextDatum(psprintf("%p", pool_base)));
	SET(2, Int64GetDatum(pool_mapped_bytes));
	SET(4, CStringGetTextDatum(pool_protection(&protection) ?
							   protection_name(protection) : "mixed"));
	SET(5, Int64GetDatum(usage.page_table_bytes));
	if (private_bytes >= 0)
		SET(6, Int64GetDatum(private_bytes));
	SET(7, Int32GetDatum(usage.processes));
	SET(8, Int64GetDatum(pg_atomic_read_u64(&pool->flips)));
	SET(9, Float8GetDatum(pg_atomic_read_u64(&pool->last_flip_ns) / 1000.0));
	if (frozen_since != 0)
		SET(10, TimestampTzGetDatum(frozen_since));
	SET(11, Int32GetDatum(processes_parked(PARKED)));
	SET(12, Int32GetDatum(pool_plan()->nranges));	/* since 1.1 */

	return result_row(tupdesc, values, nulls);
}

/* Who has closed the pool, and what has been counted since the server's start */
Datum
pg_mshare_closings(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_type(fcinfo);
	Datum		values[11];
	bool		nulls[11];
	ClosingState state;

	check_preloaded();
	memset(nulls, true, sizeof(nulls));
	if (provider == NULL)
		return result_row(tupdesc, values, nulls);

	closing_describe(&state);
	if (state.by != NULL)
	{
		SET(0, CStringGetTextDatum(state.by));
		SET(1, Int32GetDatum(state.pid));
		SET(2, TimestampTzGetDatum(state.until));
	}
	for (ClosingKind kind = CLOSING_FLIP; kind <= CLOSING_WATCH; kind++)
		SET(2 + kind, Int64GetDatum(pg_atomic_read_u64(&counters->closings[kind])));
	SET(7, Int64GetDatum(pg_atomic_read_u64(&counters->given_up)));
	SET(8, Float8GetDatum(state.closed_us / 1000000.0));
	SET(9, Int64GetDatum(pg_atomic_read_u64(&pool->waits) + fault_mode_waits()));
	SET(10, Int64GetDatum(pg_atomic_read_u64(&counters->failed_reads)));
#undef SET

	return result_row(tupdesc, values, nulls);
}

/* How much of the pool is to be in use, and is, and where that is */
Datum
pg_mshare_size(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_type(fcinfo);
	Datum		values[3];
	bool		nulls[3] = {false};

	check_preloaded();
	memset(nulls, provider == NULL, sizeof(nulls));
	if (provider != NULL)
	{
		values[0] = Int64GetDatum((int64) resize_target() * BLCKSZ);
		values[1] = Int64GetDatum((int64) resize_in_use() * BLCKSZ);
		values[2] = BoolGetDatum(pool_in_place);
	}
	return result_row(tupdesc, values, nulls);
}

Datum
pg_mshare_resize(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = result_type(fcinfo);
	Datum		values[4];
	bool		nulls[4] = {false};
	ResizeResult result;

	check_provider();
	resize(DatumGetInt64(DirectFunctionCall1(pg_size_bytes, PG_GETARG_DATUM(0))), &result);

	values[0] = Int64GetDatum((int64) result.target * BLCKSZ);
	values[1] = Int64GetDatum((int64) result.in_use * BLCKSZ);
	values[2] = Int64GetDatum(result.evicted);
	values[3] = Int64GetDatum(result.waited);
	return result_row(tupdesc, values, nulls);
}

Datum
pg_mshare_ranges(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PoolPlan   *plan;

	check_provider();
	InitMaterializedSRF(fcinfo, 0);

	plan = palloc(sizeof(PoolPlan));
	pool_copy_plan(plan);
	for (int i = 0; i < plan->nranges; i++)
	{
		PoolRange  *range = &plan->ranges[i];
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = Int32GetDatum(range->first + 1);
		values[1] = Int32GetDatum(range->count);
		values[2] = CStringGetTextDatum(protection_name(range->protection));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
pg_mshare_backends(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ProcessEntry *processes;
	int			nprocesses;
	int64		pool_inode;

	check_provider();
	InitMaterializedSRF(fcinfo, 0);

	pool_inode = proc_pool_inode(MyProcPid);
	nprocesses = processes_list(&processes);
	for (int i = 0; i < nprocesses; i++)
	{
		int			pid = processes[i].pid;
		const char *type = process_type(pid);
		int64		page_table_bytes = proc_status_bytes(pid, "VmPTE");
		int64		minor_faults = proc_minor_faults(pid);
		int64		inode = proc_pool_inode(pid);
		Datum		values[5];
		bool		nulls[5];

		values[0] = Int32GetDatum(pid);
		nulls[0] = false;
		nulls[1] = type == NULL;
		values[1] = type ? CStringGetTextDatum(type) : (Datum) 0;
		nulls[2] = page_table_bytes < 0;
		values[2] = Int64GetDatum(page_table_bytes);
		nulls[3] = minor_faults < 0;
		values[3] = Int64GetDatum(minor_faults);
		nulls[4] = inode < 0;
		values[4] = BoolGetDatum(inode > 0 && inode == pool_inode);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
