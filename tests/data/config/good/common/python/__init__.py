"""ds_ops"""
