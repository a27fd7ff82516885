/* SPDX-License-Identifier: PostgreSQL */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION pg_mshare UPDATE TO '1.2'" to load this file. \quit
