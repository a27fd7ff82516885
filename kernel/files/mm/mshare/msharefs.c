// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: the filesystem. One directory of regions, whose names and
 * permissions are all that it keeps; region.c has what is behind a file.
 */
#include <linux/ctype.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/magic.h>
#include <linux/math64.h>
#include <linux/overflow.h>
#include <linux/module.h>
#include <linux/mshare.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/sysfs.h>

#include "internal.h"

#define MSHARE_DEFAULT_REGIONS	4096
#define MSHARE_DEFAULT_MODE	0755

static struct mshare_fs *mshare_sb(struct super_block *sb)
{
	return sb->s_fs_info;
}

void mshare_fs_put(struct mshare_fs *fs)
{
	if (!refcount_dec_and_test(&fs->refs))
		return;
	if (fs->mounted)
		mshare_core_put();
	kfree(fs);
}

/* Never counted and taken back: who needs less might find no room meanwhile. */
static int mshare_fs_count(atomic_long_t *count, unsigned long more, long max)
{
	long have = atomic_long_read(count);

	if (more > max)
		return -ENOSPC;
	do {
		if (have > max - (long)more)
			return -ENOSPC;
	} while (!atomic_long_try_cmpxchg(count, &have, have + more));
	return 0;
}

/* Count bytes against size=; -ENOSPC if they do not fit. */
int mshare_fs_charge(struct mshare_fs *fs, unsigned long bytes)
{
	return mshare_fs_count(&fs->bytes, bytes, READ_ONCE(fs->max_bytes));
}

/* Count a region against nr_regions=; -ENOSPC if it is one too many. */
int mshare_fs_charge_region(struct mshare_fs *fs)
{
	return mshare_fs_count(&fs->regions, 1, READ_ONCE(fs->max_regions));
}

void mshare_fs_uncharge(struct mshare_fs *fs, unsigned long bytes)
{
	atomic_long_sub(bytes, &fs->bytes);
}

static ssize_t mshare_info_read(struct file *file, char __user *buf,
				size_t count, loff_t *pos)
{
	char text[24];
	int len = scnprintf(text, sizeof(text), "%lu\n", MSHARE_SLOT_SIZE);

	return simple_read_from_buffer(buf, count, pos, text, len);
}

static const struct file_operations mshare_info_ops = {
	.read	= mshare_info_read,
	.llseek	= default_llseek,
};

static struct inode *mshare_new_inode(struct super_block *sb,
				      struct inode *dir, umode_t mode)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;
	inode->i_ino = get_next_ino();
	inode_init_owner(&nop_mnt_idmap, inode, dir, mode);
	simple_inode_init_ts(inode);
	return inode;
}

static struct inode *mshare_new_region(struct inode *dir, umode_t mode)
{
	struct mshare_fs *fs = mshare_sb(dir->i_sb);
	struct mshare_region *region;
	struct inode *inode;

	region = mshare_region_alloc(fs);
	if (IS_ERR(region))
		return ERR_CAST(region);

	inode = mshare_new_inode(dir->i_sb, dir, S_IFREG | mode);
	if (!inode) {
		mshare_region_put(region);
		return ERR_PTR(-ENOMEM);
	}
	region->ino = inode->i_ino;
	inode->i_private = region;
	inode->i_op = &mshare_file_inode_ops;
	inode->i_fop = &mshare_file_ops;
	return inode;
}

static int mshare_create(struct mnt_idmap *idmap, struct inode *dir,
			 struct dentry *dentry, umode_t mode, bool excl)
{
	struct inode *inode = mshare_new_region(dir, mode);

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	d_instantiate(dentry, inode);
	dget(dentry);
	inode_set_mtime_to_ts(dir, inode_set_ctime_current(dir));
	return 0;
}

static int mshare_tmpfile(struct mnt_idmap *idmap, struct inode *dir,
			  struct file *file, umode_t mode)
{
	struct inode *inode = mshare_new_region(dir, mode);

	if (IS_ERR(inode))
		return finish_open_simple(file, PTR_ERR(inode));
	d_tmpfile(file, inode);
	return finish_open_simple(file, 0);
}

/* Regions only: mshare_info stays. */
static int mshare_unlink(struct inode *dir, struct dentry *dentry)
{
	if (!d_inode(dentry)->i_private)
		return -EPERM;
	return simple_unlink(dir, dentry);
}

static const struct inode_operations mshare_dir_ops = {
	.create		= mshare_create,
	.lookup		= simple_lookup,
	.unlink		= mshare_unlink,
	.tmpfile	= mshare_tmpfile,
};

static int mshare_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
			  struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	bool sized = attr->ia_valid & ATTR_SIZE;
	int err;

	/* RLIMIT_FSIZE is about files that grow: this is address space */
	attr->ia_valid &= ~ATTR_SIZE;
	err = setattr_prepare(idmap, dentry, attr);
	if (err)
		return err;
	if (sized) {
		err = mshare_region_set_size(inode->i_private, attr->ia_size);
		if (err)
			return err;
		i_size_write(inode, attr->ia_size);
	}
	setattr_copy(idmap, inode, attr);
	return 0;
}

const struct inode_operations mshare_file_inode_ops = {
	.setattr	= mshare_setattr,
	.getattr	= simple_getattr,
};

static void mshare_evict_inode(struct inode *inode)
{
	clear_inode(inode);
	if (inode->i_private)
		mshare_region_put(inode->i_private);
}

static int mshare_show_options(struct seq_file *seq, struct dentry *root)
{
	struct mshare_fs *fs = mshare_sb(root->d_sb);

	seq_printf(seq, ",size=%luk", fs->max_bytes >> 10);
	seq_printf(seq, ",nr_regions=%lu", fs->max_regions);
	if (fs->mode != MSHARE_DEFAULT_MODE)
		seq_printf(seq, ",mode=%03ho", fs->mode);
	if (!uid_eq(fs->uid, GLOBAL_ROOT_UID))
		seq_printf(seq, ",uid=%u",
			   from_kuid_munged(&init_user_ns, fs->uid));
	if (!gid_eq(fs->gid, GLOBAL_ROOT_GID))
		seq_printf(seq, ",gid=%u",
			   from_kgid_munged(&init_user_ns, fs->gid));
	return 0;
}

static int mshare_statfs(struct dentry *dentry, struct kstatfs *buf)
{
	struct mshare_fs *fs = mshare_sb(dentry->d_sb);
	unsigned long used = max(atomic_long_read(&fs->bytes), 0L);
	unsigned long regions = atomic_long_read(&fs->regions);

	simple_statfs(dentry, buf);
	buf->f_blocks = fs->max_bytes >> PAGE_SHIFT;
	buf->f_bfree = (fs->max_bytes - min(used, fs->max_bytes)) >> PAGE_SHIFT;
	buf->f_bavail = buf->f_bfree;
	buf->f_files = fs->max_regions;
	buf->f_ffree = fs->max_regions - min(regions, fs->max_regions);
	return 0;
}

static const struct super_operations mshare_super_ops = {
	.statfs		= mshare_statfs,
	.drop_inode	= generic_delete_inode,
	.evict_inode	= mshare_evict_inode,
	.show_options	= mshare_show_options,
};

enum {
	MSHARE_OPT_UID,
	MSHARE_OPT_GID,
	MSHARE_OPT_MODE,
	MSHARE_OPT_SIZE,
	MSHARE_OPT_NR_REGIONS,
};

static const struct fs_parameter_spec mshare_parameters[] = {
	fsparam_uid("uid", MSHARE_OPT_UID),
	fsparam_gid("gid", MSHARE_OPT_GID),
	fsparam_u32oct("mode", MSHARE_OPT_MODE),
	fsparam_string("size", MSHARE_OPT_SIZE),
	fsparam_string("nr_regions", MSHARE_OPT_NR_REGIONS),
	{}
};

/*
 * Bytes with a suffix, or a percentage of RAM, as tmpfs takes it; but nothing
 * that overflows, which memparse() does not tell.
 */
static int mshare_parse_size(struct fs_context *fc, const char *text,
			     unsigned long *result)
{
	static const char units[] = "kmgtpe";
	const char *unit = text + strlen(text);
	unsigned int shift = 0;
	u64 size, bytes;
	char number[24];

	if (unit > text && !isdigit(unit[-1]))
		unit--;
	if (unit == text || unit - text >= sizeof(number))
		return invalf(fc, "msharefs: bad size '%s'", text);
	strscpy(number, text, unit - text + 1);
	if (*unit && *unit != '%') {
		const char *found = strchr(units, tolower(*unit));

		if (!found)
			return invalf(fc, "msharefs: bad size '%s'", text);
		shift = 10 * (found - units + 1);
	}
	if (kstrtou64(number, 10, &size) ||
	    check_shl_overflow(size, shift, &bytes) || bytes > LONG_MAX)
		return invalf(fc, "msharefs: bad size '%s'", text);
	if (*unit == '%') {
		if (size > 100)
			return invalf(fc, "msharefs: size over 100%%");
		bytes = div_u64((size << PAGE_SHIFT) * totalram_pages(), 100);
	}
	*result = bytes;
	return 0;
}

static int mshare_parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	struct mshare_fs *fs = fc->s_fs_info;
	struct fs_parse_result result;
	int opt;

	opt = fs_parse(fc, mshare_parameters, param, &result);
	if (opt < 0)
		return opt;

	switch (opt) {
	case MSHARE_OPT_UID:
		fs->uid = result.uid;
		break;
	case MSHARE_OPT_GID:
		fs->gid = result.gid;
		break;
	case MSHARE_OPT_MODE:
		fs->mode = result.uint_32 & 07777;
		break;
	case MSHARE_OPT_SIZE:
		return mshare_parse_size(fc, param->string, &fs->max_bytes);
	case MSHARE_OPT_NR_REGIONS:
		if (kstrtoul(param->string, 0, &fs->max_regions) ||
		    fs->max_regions > LONG_MAX)
			return invalf(fc, "msharefs: bad nr_regions '%s'",
				      param->string);
		break;
	}
	return 0;
}

static int mshare_add_info(struct super_block *sb, struct dentry *root)
{
	struct dentry *dentry = d_alloc_name(root, "mshare_info");
	struct inode *inode;

	if (!dentry)
		return -ENOMEM;
	inode = mshare_new_inode(sb, NULL, S_IFREG | 0444);
	if (!inode) {
		dput(dentry);
		return -ENOMEM;
	}
	inode->i_fop = &mshare_info_ops;
	d_add(dentry, inode);
	return 0;
}

static int mshare_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct mshare_fs *fs = sb->s_fs_info;
	struct inode *inode;

	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_magic = MSHARE_MAGIC;
	sb->s_op = &mshare_super_ops;
	sb->s_time_gran = 1;

	inode = mshare_new_inode(sb, NULL, S_IFDIR | fs->mode);
	if (!inode)
		return -ENOMEM;
	inode->i_uid = fs->uid;
	inode->i_gid = fs->gid;
	inode->i_op = &mshare_dir_ops;
	inode->i_fop = &simple_dir_operations;
	set_nlink(inode, 2);
	sb->s_root = d_make_root(inode);
	if (!sb->s_root)
		return -ENOMEM;
	return mshare_add_info(sb, sb->s_root);
}

static int mshare_get_tree(struct fs_context *fc)
{
	struct mshare_fs *fs = fc->s_fs_info;
	int err = mshare_core_get();

	if (err)
		return err;
	fs->mounted = true;
	return get_tree_nodev(fc, mshare_fill_super);
}

/* The limits can be changed; what exists already stays. */
static int mshare_reconfigure(struct fs_context *fc)
{
	struct mshare_fs *fs = mshare_sb(fc->root->d_sb);
	struct mshare_fs *new = fc->s_fs_info;

	WRITE_ONCE(fs->max_bytes, new->max_bytes);
	WRITE_ONCE(fs->max_regions, new->max_regions);
	return 0;
}

static void mshare_free_fc(struct fs_context *fc)
{
	if (fc->s_fs_info)
		mshare_fs_put(fc->s_fs_info);
}

static const struct fs_context_operations mshare_context_ops = {
	.parse_param	= mshare_parse_param,
	.get_tree	= mshare_get_tree,
	.reconfigure	= mshare_reconfigure,
	.free		= mshare_free_fc,
};

static int mshare_init_fs_context(struct fs_context *fc)
{
	struct mshare_fs *fs = kzalloc(sizeof(*fs), GFP_KERNEL);

	if (!fs)
		return -ENOMEM;
	refcount_set(&fs->refs, 1);
	if (fc->purpose == FS_CONTEXT_FOR_RECONFIGURE) {
		struct mshare_fs *old = mshare_sb(fc->root->d_sb);

		fs->max_bytes = old->max_bytes;
		fs->max_regions = old->max_regions;
	} else {
		fs->mode = MSHARE_DEFAULT_MODE;
		fs->max_bytes = (totalram_pages() / 2) << PAGE_SHIFT;
		fs->max_regions = MSHARE_DEFAULT_REGIONS;
	}
	fc->s_fs_info = fs;
	fc->ops = &mshare_context_ops;
	return 0;
}

static void mshare_kill_sb(struct super_block *sb)
{
	struct mshare_fs *fs = mshare_sb(sb);

	kill_litter_super(sb);
	mshare_fs_put(fs);
}

/* No FS_USERNS_MOUNT: size= is a promise about the machine's memory. */
static struct file_system_type mshare_fs_type = {
	.owner			= THIS_MODULE,
	.name			= "msharefs",
	.init_fs_context	= mshare_init_fs_context,
	.parameters		= mshare_parameters,
	.kill_sb		= mshare_kill_sb,
};

static int __init mshare_init(void)
{
	int err;

	err = mshare_core_init();
	if (err)
		return err;
	err = sysfs_create_mount_point(fs_kobj, "mshare");
	if (err)
		goto err_core;
	err = register_filesystem(&mshare_fs_type);
	if (err)
		goto err_mount_point;
	mshare_wait_sysctls_init();
	mshare_debug_init();
	return 0;

err_mount_point:
	sysfs_remove_mount_point(fs_kobj, "mshare");
err_core:
	mshare_core_exit();
	return err;
}
fs_initcall(mshare_init);

/* No mount is left, and no region. */
static void __exit mshare_exit(void)
{
	mshare_debug_exit();
	mshare_wait_sysctls_exit();
	unregister_filesystem(&mshare_fs_type);
	sysfs_remove_mount_point(fs_kobj, "mshare");
	mshare_core_exit();
	/* notifiers, links, regions, views */
	mmu_notifier_synchronize();
	rcu_barrier();
}
module_exit(mshare_exit);

MODULE_ALIAS_FS("msharefs");
MODULE_DESCRIPTION("msharefs: page tables shared between processes");
MODULE_LICENSE("GPL");
