"""People who do not exist, in front of a camera that does not either, with the exact truth.

controls     joint angles with names  -> EHM rotations
motion       time                     -> controls
shapes       random people            -> betas, flame_betas, head_scale
appearance   random clothes           -> colours of the mesh
background   random rooms             -> images
scene        all of it, a time        -> image, camera, people
"""
