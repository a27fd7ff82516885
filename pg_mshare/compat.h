/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between the supported PostgreSQL versions.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_MSHARE_COMPAT_H
#define PG_MSHARE_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "pg_mshare supports PostgreSQL 15 to 18; build it with the pg_config of one of these, e.g. make PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config"
#endif

#ifdef EXEC_BACKEND
#error "pg_mshare needs server processes that inherit the postmaster's memory by fork(); EXEC_BACKEND builds do not"
#endif

#ifndef __linux__
#error "pg_mshare needs Linux: futexes, memfd_create() and /proc"
#endif

#if PG_VERSION_NUM < 160000
#define pgstat_get_local_beentry_by_index(index) \
	pgstat_fetch_stat_local_beentry(index)
#endif

#endif							/* PG_MSHARE_COMPAT_H */
